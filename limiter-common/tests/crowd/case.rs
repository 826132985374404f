//! What is simulated.

use limiter_common::line::Habits;

use super::door::{Family, SETS};

/// One run. Times are in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub family: Family,
    pub seed: u64,
    /// Connections of a page of the crowd.
    pub connections: u32,
    /// People who were there before, each with a page of one connection every 4 s.
    pub regulars: usize,
    /// Where the kernel makes cookies: an attempt is answered and its proof judged.
    pub cookies: bool,
    /// So many people that they would ask for this many times the capacity, were they served at
    /// once.
    pub load: f64,
    /// Connections per second that the server can serve.
    pub capacity: f64,
    pub workers: u32,
    pub backlog: usize,
    /// Connections per second that the budget has, and how many at once.
    pub budget: f64,
    pub burst: u64,
    pub habits: Habits,
    /// Instead of people who wait: the lab's open loop of 1,500 addresses times the load, 120
    /// pages/s in all whatever happens.
    pub staged: bool,
    /// When the door begins to be obeyed; before that it is asked all the same if it observes.
    pub armed: f64,
    pub observes: bool,
    /// How many people there are instead of what the load says; 0: what it says.
    pub people: usize,
    /// The crowd comes in so many seconds; evenly, or more and more until so many of them have
    /// passed and then ever less.
    pub arrive: f64,
    pub peak: f64,
    /// Whether nobody comes in place of who goes, so that the crowd ends.
    pub once: bool,
    /// From when after it began to come, and how long, is measured.
    pub settle: f64,
    pub measure: f64,
    /// Pages of a visit, and seconds between two.
    pub pages: f64,
    pub think: f64,
    /// Least and most seconds for which a person waits for a page.
    pub patience: [f64; 2],
    /// Least seconds for which somebody tries to get a page.
    pub stays: f64,
    /// Sources of 640/s, of 2.5/s, and spoofed attempts per second.
    pub heavy: u32,
    pub bots: u32,
    pub spoofed: f64,
    /// Whether the measured time ends with four times the capacity and budget, and it goes on until
    /// all who wait then have a page.
    pub relief: bool,
    /// Part of the people who are behind one address, and what a class says of it.
    pub shared: f64,
    pub weight: u64,
    /// Whether a browser opens the other connections of a page once its first one was answered,
    /// instead of all at once.
    pub leads: bool,
    /// Whether who waits is shown the waiting room; it needs `leads`. And how many connections per
    /// second the room may take; 0: any number.
    pub room: bool,
    pub diverts: f64,
    /// Within how many seconds the room's page comes again of who has no more than these before
    /// him, and of others not later than they may come in; 0: of nobody, it comes after 6 to 15.
    pub soon: f64,
    /// Sets of the table that keeps places.
    pub sets: u32,
}

/// When the crowd begins to come, seconds.
pub const CROWD: f64 = 20.0;

impl Case {
    pub fn new(family: Family, load: f64) -> Self {
        Self {
            family,
            seed: 1,
            connections: 6,
            regulars: 20,
            cookies: false,
            load,
            capacity: 590.0,
            workers: 12,
            backlog: 128,
            budget: 560.0,
            burst: 100,
            habits: Habits::default(),
            staged: false,
            armed: 0.0,
            observes: false,
            people: 0,
            arrive: 10.0,
            peak: 0.0,
            once: false,
            settle: 30.0,
            measure: 180.0,
            pages: 5.0,
            think: 10.0,
            patience: [2.0, 17.0],
            stays: 120.0,
            heavy: 0,
            bots: 0,
            spoofed: 0.0,
            relief: false,
            shared: 0.0,
            weight: 1,
            leads: false,
            room: false,
            diverts: 0.0,
            soon: 0.0,
            sets: SETS,
        }
    }

    /// The same case where people are shown the waiting room.
    pub fn with_room(self) -> Self {
        Self { leads: true, room: true, ..self }
    }

    /// The same case but for what a text says: `load=4 cookies=yes`.
    pub fn with(self, text: &str) -> Self {
        let mut case = self;
        for (key, value) in text.split_whitespace().filter_map(|word| word.split_once('=')) {
            let number: f64 = value.parse().unwrap_or(f64::NAN);
            let is_on = value == "yes" || number > 0.0;
            match key {
                "family" => {
                    case.family = match value {
                        "nothing" => Family::Nothing,
                        "budget" => Family::Budget,
                        _ => Family::Line,
                    }
                }
                "seed" => case.seed = number as u64,
                "connections" => case.connections = number as u32,
                "regulars" => case.regulars = number as usize,
                "cookies" => case.cookies = is_on,
                "load" => case.load = number,
                "capacity" => case.capacity = number,
                "workers" => case.workers = number as u32,
                "backlog" => case.backlog = number as usize,
                "budget" => case.budget = number,
                "burst" => case.burst = number as u64,
                "allowance" => case.habits.allowance = number as u64,
                "idle" => case.habits.idle_seconds = number as u64,
                "staged" => case.staged = is_on,
                "relief" => case.relief = is_on,
                "armed" => case.armed = number,
                "observes" => case.observes = is_on,
                "people" => case.people = number as usize,
                "arrive" => case.arrive = number,
                "peak" => case.peak = number,
                "once" => case.once = is_on,
                "settle" => case.settle = number,
                "measure" => case.measure = number,
                "pages" => case.pages = number,
                "think" => case.think = number,
                "patience" => case.patience = [number; 2],
                "stays" => case.stays = number,
                "heavy" => case.heavy = number as u32,
                "bots" => case.bots = number as u32,
                "spoofed" => case.spoofed = number,
                "shared" => case.shared = number,
                "weight" => case.weight = number as u64,
                "leads" => case.leads = is_on,
                "room" if is_on => case = case.with_room(),
                "room" => case.room = false,
                "diverts" => case.diverts = number,
                "soon" => case.soon = number,
                "sets" => case.sets = number as u32,
                _ => panic!("{key}"),
            }
        }
        case
    }

    pub fn until(&self) -> f64 {
        CROWD + self.settle + self.measure
    }
}
