//! Surges by their parameters: who comes, how, and onto what.

use serde::Serialize;

use super::draw::Draw;

/// What a surge is in truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// Many people.
    Crowd,
    /// Many people behind few addresses.
    BehindFew,
    /// Few sources that ask without end.
    Few,
    /// Many machines that ask as no person does, or all from one network.
    Botnet,
    /// Many machines all over that ask as people do: this cannot be told from a crowd.
    BotnetAsPeople,
    /// A flood from forged addresses.
    Spoofed,
    /// The same on top of a crowd.
    Mixed,
}

impl Truth {
    /// In the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Crowd, Self::BehindFew, Self::Few, Self::Botnet, Self::BotnetAsPeople, Self::Spoofed, Self::Mixed];

    /// As the table calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crowd => "crowd",
            Self::BehindFew => "people behind few addresses",
            Self::Few => "few heavy sources",
            Self::Botnet => "botnet",
            Self::BotnetAsPeople => "botnet at the pace of people",
            Self::Spoofed => "forged addresses",
            Self::Mixed => "forged addresses and a crowd",
        }
    }

    /// Whether it is people and nothing else.
    pub const fn is_people(self) -> bool {
        matches!(self, Self::Crowd | Self::BehindFew)
    }
}

/// Clients that are there.
#[derive(Clone, Debug)]
pub struct Clients {
    /// How many come in all, and in how many seconds they arrive.
    pub number: u64,
    /// See `number`.
    pub arrive: f64,
    /// Connections at once, and seconds between two such rounds.
    pub at_once: u64,
    /// See `at_once`.
    pub pause: f64,
    /// Rounds after which one is content; each that fails is one more.
    pub rounds: u64,
    /// Addresses that they share, and networks that these are of.
    pub addresses: u64,
    /// See `addresses`.
    pub networks: u64,
    /// The share of them in one /16.
    pub in_one: f64,
    /// Whether a SYN without an answer is sent again, as every kernel does.
    pub sends_again: bool,
    /// Whether they finish handshakes.
    pub finishes: bool,
    /// Seconds on and off.
    pub pulse: Option<(u64, u64)>,
}

/// A surge.
#[derive(Clone, Debug)]
pub struct Scene {
    /// What it is.
    pub truth: Truth,
    /// Its shape, for whoever looks into what went wrong.
    pub shape: &'static str,
    /// Calm attempts per second.
    pub calm: f64,
    /// Connections per second that the server takes, and its accept queue.
    pub server: f64,
    /// See `server`.
    pub queue: f64,
    /// Whether limiter enforces.
    pub enforces: bool,
    /// Rate of the source limit; its burst is twice that.
    pub source: f64,
    /// Rate of the budget, if there is one; its burst is twice that.
    pub budget: Option<f64>,
    /// Who comes in the surge.
    pub clients: Vec<Clients>,
    /// Forged attempts per second.
    pub forged: f64,
    /// Seconds on and off of these.
    pub pulse: Option<(u64, u64)>,
}

/// Draws one.
pub fn draw(draw: &mut Draw) -> Scene {
    let shapes: [(&str, fn(&mut Draw) -> Vec<Clients>, Truth); 16] = [
        ("school morning", school, Truth::Crowd),
        ("ticket sale", sale, Truth::Crowd),
        ("link on television", television, Truth::Crowd),
        ("retry storm", retries, Truth::Crowd),
        ("slow growth", growth, Truth::Crowd),
        ("mobile carriers", carriers, Truth::BehindFew),
        ("schools behind one address each", schools, Truth::BehindFew),
        ("few heavy sources", heavy, Truth::Few),
        ("few raw sources", raw, Truth::Few),
        ("a monitoring tool gone wild", monitor, Truth::Few),
        ("pulsed few", pulsed, Truth::Few),
        ("botnet of one network", one_network, Truth::Botnet),
        ("fast botnet", fast, Truth::Botnet),
        ("botnet at the pace of people", as_people, Truth::BotnetAsPeople),
        ("forged", |_| Vec::new(), Truth::Spoofed),
        ("forged on top of a crowd", sale, Truth::Mixed),
    ];
    let (shape, clients, truth) = shapes[(draw.word() % shapes.len() as u64) as usize];
    let clients = clients(draw);
    let forged = match truth {
        Truth::Spoofed => draw.scale(2_000.0, 200_000.0),
        Truth::Mixed => draw.scale(4_000.0, 100_000.0),
        _ => 0.0,
    };
    let server = draw.scale(100.0, 3_000.0);
    Scene {
        truth,
        shape,
        calm: draw.scale(5.0, 150.0).min(server / 3.0),
        server,
        queue: [128.0, 511.0, 1024.0, 4096.0][(draw.word() % 4) as usize],
        enforces: draw.is(0.5),
        source: draw.scale(5.0, 40.0),
        budget: draw.is(0.7).then(|| server * draw.between(0.5, 1.5)),
        clients,
        forged,
        pulse: (truth == Truth::Spoofed && draw.is(0.2)).then_some((10, 10)),
    }
}

fn people(number: f64, arrive: f64) -> Clients {
    Clients {
        number: number as u64,
        arrive,
        at_once: 2,
        pause: 15.0,
        rounds: 3,
        addresses: number as u64,
        networks: (number / 4.0) as u64,
        in_one: 0.0,
        sends_again: true,
        finishes: true,
        pulse: None,
    }
}

fn some(draw: &mut Draw, low: f64, high: f64, arrive: [f64; 2]) -> Clients {
    let arrive = draw.between(arrive[0], arrive[1]);
    let mut clients = people(draw.scale(low, high), arrive);
    clients.at_once = 1 + draw.word() % 6;
    clients.pause = draw.between(5.0, 40.0);
    clients.rounds = 1 + draw.word() % 6;
    clients.networks = (clients.number as f64 * draw.scale(0.01, 0.9)).max(3.0) as u64;
    clients
}

fn school(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = some(draw, 1500.0, 15_000.0, [10.0, 60.0]);
    clients.in_one = draw.between(0.0, 0.7);
    vec![clients]
}

fn sale(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = some(draw, 1500.0, 20_000.0, [2.0, 20.0]);
    clients.rounds = 30;
    vec![clients]
}

fn television(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = some(draw, 3000.0, 40_000.0, [20.0, 80.0]);
    clients.networks = clients.number * 9 / 10;
    clients.rounds = 1 + draw.word() % 2;
    vec![clients]
}

fn retries(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = some(draw, 1000.0, 8000.0, [5.0, 30.0]);
    (clients.at_once, clients.pause, clients.rounds) = (1, draw.between(3.0, 10.0), 60);
    vec![clients]
}

fn growth(draw: &mut Draw) -> Vec<Clients> {
    vec![some(draw, 4000.0, 30_000.0, [80.0, 90.0])]
}

fn carriers(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = some(draw, 2000.0, 15_000.0, [10.0, 60.0]);
    clients.addresses = draw.scale(20.0, 900.0) as u64;
    clients.networks = (clients.addresses / 40).max(2);
    vec![clients]
}

fn schools(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = some(draw, 1500.0, 10_000.0, [5.0, 60.0]);
    clients.addresses = draw.scale(5.0, 200.0) as u64;
    clients.networks = clients.addresses;
    vec![clients]
}

/// `number` machines that ask `rate` times a second each.
fn machines(number: f64, rate: f64) -> Clients {
    let mut clients = people(number, 2.0);
    clients.at_once = rate.clamp(1.0, 4000.0).round() as u64;
    clients.pause = clients.at_once as f64 / rate;
    clients.rounds = u64::MAX;
    clients
}

fn heavy(draw: &mut Draw) -> Vec<Clients> {
    let number = draw.scale(1.0, 64.0);
    let mut clients = machines(number.max(1.0), draw.scale(300.0, 20_000.0) / number);
    clients.sends_again = draw.is(0.5);
    vec![clients]
}

fn raw(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = heavy(draw).remove(0);
    (clients.sends_again, clients.finishes) = (false, false);
    vec![clients]
}

fn monitor(draw: &mut Draw) -> Vec<Clients> {
    vec![machines(1.0 + draw.part() * 3.0, draw.scale(100.0, 2000.0))]
}

fn pulsed(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = heavy(draw).remove(0);
    clients.pulse = Some((5 + draw.word() % 10, 5 + draw.word() % 10));
    vec![clients]
}

fn one_network(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = machines(draw.scale(300.0, 4000.0), draw.between(1.0, 4.0));
    (clients.in_one, clients.sends_again) = (draw.between(0.9, 1.0), draw.is(0.5));
    vec![clients]
}

fn fast(draw: &mut Draw) -> Vec<Clients> {
    let mut clients = machines(draw.scale(300.0, 5000.0), draw.between(2.0, 4.0));
    clients.sends_again = draw.is(0.5);
    vec![clients]
}

fn as_people(draw: &mut Draw) -> Vec<Clients> {
    vec![machines(draw.scale(2000.0, 20_000.0), draw.between(0.02, 0.3))]
}
