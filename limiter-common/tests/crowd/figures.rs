//! What is counted.

/// Sums by index, to ask how many of those who came earlier still wait.
pub struct Tree(Vec<i32>);

impl Tree {
    pub fn new(size: usize) -> Self {
        Self(vec![0; size.next_power_of_two() + 1])
    }

    pub fn add(&mut self, index: usize, number: i32) {
        let mut at = index + 1;
        while at < self.0.len() {
            self.0[at] += number;
            at += at & at.wrapping_neg();
        }
    }

    pub fn below(&self, index: usize) -> i32 {
        let (mut at, mut sum) = (index, 0);
        while at > 0 {
            sum += self.0[at];
            at -= at & at.wrapping_neg();
        }
        sum
    }
}

/// The results of a run. Shares are of one, times in seconds.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Connections of whole pages of people, of the capacity.
    pub good: f64,
    /// Connections that the server served for machines, of the capacity.
    pub machines: f64,
    /// Pages of the regulars that came in time.
    pub regulars: f64,
    /// Regulars who got none, and the longest time that one went without.
    pub locked: usize,
    pub gap: f64,
    /// How long those waited who got their first page; those who still wait count with what they
    /// have waited.
    pub first: Vec<f64>,
    /// The same of those who got it: who, how long, and whether the place was lost or not kept.
    pub people: Vec<(u32, f64, bool)>,
    /// When the last of them got it, in seconds since the crowd began to come; and connections of
    /// whole pages until then, of what the budget had.
    pub last: f64,
    pub good_by_last: f64,
    /// Connections let in while more than a tenth of the crowd waited, of what the budget had in
    /// that time; and how many were left of those.
    pub used: f64,
    pub unused: f64,
    /// Most people who waited at once.
    pub waiting: i32,
    /// Most attempts and proofs in a second, and most that the waiting room took.
    pub asked_most: u64,
    pub shown_most: u64,
    /// How long those waited who were in.
    pub later: Vec<f64>,
    /// Of those who got their first page, how long their browser had shown nothing new: since they
    /// came, or since the room's page came again for the last time.
    pub hangs: Vec<f64>,
    /// Pages whose patience ran out, per second.
    pub failed: f64,
    pub shared: Vec<f64>,
    /// People who wait, on average, by how many get their first page in a second: what all would
    /// wait if all waited alike.
    pub fair: f64,
    /// Of those waiting, how many had come before somebody who got his first page.
    pub overtaken: f64,
    /// Visits finished and given up, per second.
    pub visits: f64,
    pub gave_up: f64,
    /// Attempts and proofs let in, per second.
    pub admitted: f64,
    /// Connections that found the accept queue full, per second.
    pub overflows: f64,
    /// The head's lag at the end.
    pub wait: f64,
    /// Connections of a page, as the line has learned it.
    pub page: f64,
    pub steals: u64,
    /// Attempts and proofs that were judged, per second.
    pub asked: f64,
    /// Connections that the waiting room took, and that it had no room for, per second.
    pub shown: f64,
    pub unshown: f64,
    /// Of those that it took, connections of pages that were let in, per second; and pages of
    /// people who were in and waited in line again.
    pub holes: f64,
    pub back: f64,
    /// People whose place was given to another source, and whose place could not be kept.
    pub evicted: u64,
    pub placeless: u64,
    /// Of the visits that began, those of machines; and of the sources that wait or are in, those.
    pub machine_visits: f64,
    /// Seconds from the relief until everybody who waited then had a page.
    pub cleared: f64,
}

/// A quantile of numbers.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count => values[((count - 1) as f64 * part).round() as usize],
    }
}
