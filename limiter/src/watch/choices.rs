//! What the operator chose to see, and the keys that choose it. No key does anything else.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The time that the lines span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(usize);

/// What a key does to the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Go on.
    Stay,
    /// Hold the display, or let it go on.
    Pause,
    /// End.
    Quit,
}

/// What is shown.
#[derive(Clone, Debug)]
pub struct Choices {
    /// The time that the lines span.
    pub window: Window,
    /// Name of the one service that is shown; `None`: all together.
    pub service: Option<String>,
    /// Whether the keys are explained.
    pub help: bool,
}

const WINDOWS: [(&str, f64); 4] = [("1m", 60.0), ("5m", 300.0), ("30m", 1800.0), ("2h", 7200.0)];

/// The window of that name.
///
/// # Errors
/// When there is none: which there are.
pub fn window(text: &str) -> Result<Window, String> {
    let found = WINDOWS.iter().position(|(name, _)| *name == text);
    found.map(Window).ok_or_else(|| "it is 1m, 5m, 30m or 2h".to_owned())
}

impl Window {
    /// Its length in seconds.
    pub const fn seconds(self) -> f64 {
        WINDOWS[self.0].1
    }

    /// As people say it.
    pub const fn name(self) -> &'static str {
        WINDOWS[self.0].0
    }

    fn by(self, steps: isize) -> Self {
        Self(self.0.saturating_add_signed(steps).min(WINDOWS.len() - 1))
    }
}

impl Choices {
    /// Takes an event of the terminal. `services` are the names of those that there are.
    pub fn take(&mut self, event: &Event, services: &[&str]) -> Step {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key, services),
            _ => Step::Stay,
        }
    }

    fn key(&mut self, key: KeyEvent, services: &[&str]) -> Step {
        let was_help = std::mem::take(&mut self.help);
        match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Step::Quit;
            }
            KeyCode::Char('q') => return Step::Quit,
            KeyCode::Esc if !was_help => return Step::Quit,
            KeyCode::Char('p' | ' ') => return Step::Pause,
            KeyCode::Char('?' | 'h') => self.help = !was_help,
            KeyCode::Char(digit @ '1'..='4') => self.window = Window(digit as usize - '1' as usize),
            KeyCode::Char('+') => self.window = self.window.by(1),
            KeyCode::Char('-') => self.window = self.window.by(-1),
            KeyCode::Tab | KeyCode::Right | KeyCode::Down => self.turn(1, services),
            KeyCode::BackTab | KeyCode::Left | KeyCode::Up => self.turn(-1, services),
            _ => {}
        }
        Step::Stay
    }

    /// On to another service; between the last and the first are all of them.
    fn turn(&mut self, steps: isize, services: &[&str]) {
        let count = services.len() as isize + 1;
        let now =
            self.service.as_ref().and_then(|name| services.iter().position(|one| one == name));
        let next = (now.map_or(0, |index| index as isize + 1) + steps).rem_euclid(count);
        self.service = (next > 0).then(|| services[next as usize - 1].to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(choices: &mut Choices, code: KeyCode) -> Step {
        choices.take(&Event::Key(KeyEvent::from(code)), &["web", "mail"])
    }

    #[test]
    fn keys_choose() {
        let mut choices =
            Choices { window: window("5m").expect("a window"), service: None, help: false };
        let mut seen = Vec::new();
        for _ in 0..3 {
            press(&mut choices, KeyCode::Tab);
            seen.push(choices.service.clone());
        }
        assert_eq!(seen, [Some("web".to_owned()), Some("mail".to_owned()), None]);
        press(&mut choices, KeyCode::Left);
        assert_eq!(choices.service.as_deref(), Some("mail"));
        press(&mut choices, KeyCode::Char('1'));
        press(&mut choices, KeyCode::Char('-'));
        assert_eq!(choices.window.name(), "1m");
        for _ in 0..9 {
            press(&mut choices, KeyCode::Char('+'));
        }
        assert_eq!(choices.window.name(), "2h");
        assert_eq!(press(&mut choices, KeyCode::Char('p')), Step::Pause);
    }

    #[test]
    fn escape_leaves_the_help_first() {
        let mut choices = Choices { window: Window(0), service: None, help: false };
        press(&mut choices, KeyCode::Char('?'));
        assert!(choices.help);
        assert_eq!(press(&mut choices, KeyCode::Esc), Step::Stay);
        assert!(!choices.help);
        assert_eq!(press(&mut choices, KeyCode::Esc), Step::Quit);
        assert_eq!(press(&mut choices, KeyCode::Char('q')), Step::Quit);
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(choices.take(&Event::Key(interrupt), &[]), Step::Quit);
    }

    #[test]
    fn a_service_that_went_is_left() {
        let mut choices =
            Choices { window: Window(0), service: Some("gone".to_owned()), help: false };
        press(&mut choices, KeyCode::Tab);
        assert_eq!(choices.service.as_deref(), Some("web"));
        choices.take(&Event::Key(KeyEvent::from(KeyCode::Tab)), &[]);
        assert_eq!(choices.service, None);
    }
}
