//! Why a packet passed or was dropped. Every packet has exactly one reason, and every reason one
//! row in the table below: what is true of a reason is said there and nowhere else.

use crate::record::REASONS;

/// What a reason does to the packet when the mode is enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the kernel.
    Pass,
    /// It ends here.
    Drop,
    /// It ends here, and limiter answers it.
    Answer,
}

/// Which packets have a reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A SYN to a protected service that a limit or a challenge judged.
    Attempt,
    /// The ACK of a challenged attempt, with a good cookie.
    Proof,
    /// The same, but of an attempt that goes to the waiting room.
    Diversion,
    /// Any other ACK whose cookie was looked at.
    Cookie,
    /// Any other packet.
    Other,
}

/// What refused, if it was a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The source's own limit.
    Own,
    /// That of the network it is in.
    Network,
    /// A budget has nothing left for it, or it waits in line for one.
    Budget,
}

/// Attempts that people see as one: a layer of the report's plot, a sentence of `watch`. Every
/// attempt is in one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Let in.
    LetIn,
    /// Asked for a proof with a cookie, by limiter or by the kernel.
    Challenged,
    /// The source is over its limit, or its network is.
    OverLimit,
    /// The source waits in line for a budget.
    InLine,
    /// Sent to the waiting room.
    Diverted,
    /// A budget is spent.
    Spent,
    /// Refused for what no limit can help.
    Unfit,
}

impl Group {
    /// All of them, in the order in which they are stacked.
    pub const ALL: [Self; 7] = [
        Self::LetIn,
        Self::Challenged,
        Self::OverLimit,
        Self::InLine,
        Self::Diverted,
        Self::Spent,
        Self::Unfit,
    ];
}

/// Which packaged alert counts a reason. A reason that drops and has none counts only in those that
/// count every drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// Users are refused.
    Users,
    /// The server takes its connections too slowly.
    Server,
    /// Sources are over their limit.
    Sources,
    /// The waiting room answers most clients.
    Room,
}

impl Alarm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Users, Self::Server, Self::Sources, Self::Room];

    /// Name of the alert in `packaging/limiter.rules.yml`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Users => "LimiterBudgetRefuses",
            Self::Server => "LimiterServerTooSlow",
            Self::Sources => "LimiterSourcesRefused",
            Self::Room => "LimiterMostWait",
        }
    }
}

/// A column that may be empty.
macro_rules! optional {
    ($column:ident, _) => {
        None
    };
    ($column:ident, $value:ident) => {
        Some($column::$value)
    };
}

macro_rules! reasons {
    ($($variant:ident = $number:literal, $name:literal, $packet:ident, $verdict:ident, $limit:tt, $group:tt, $alarm:tt,
       $text:literal;)*) => {
        /// The reason of a verdict. The number is the index into [`crate::record::Counters`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $(#[doc = $text] $variant = $number,)*
        }

        impl Reason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &[Reason] = &[$(Reason::$variant,)*];

            /// The reason with a number.
            #[inline(always)]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Reason::$variant),)* _ => None }
            }

            /// Name in JSON, in metrics and in tables.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// One line for a person.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)* }
            }

            /// Which packets have it.
            pub const fn packet(self) -> Packet {
                match self { $(Reason::$variant => Packet::$packet,)* }
            }

            /// What it does to a packet.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Reason::$variant => Verdict::$verdict,)* }
            }

            /// What refused; `None` if it was no limit.
            pub const fn limit(self) -> Option<Limit> {
                match self { $(Reason::$variant => optional!(Limit, $limit),)* }
            }

            /// What it is shown as; `None` if it is not about an attempt.
            pub const fn group(self) -> Option<Group> {
                match self { $(Reason::$variant => optional!(Group, $group),)* }
            }

            /// Which packaged alert counts it.
            pub const fn alarm(self) -> Option<Alarm> {
                match self { $(Reason::$variant => optional!(Alarm, $alarm),)* }
            }
        }
    };
}

// variant = number, name, packet, verdict, limit, group, alarm, text. A number is never used again
// (14 and 23 to 25 are gone): records of incidents and metrics go by the name, pins by the number.
reasons! {
    NotAttempt = 0, "not_attempt", Other, Pass, _, _, _, "TCP that opens no connection";
    NotTcp = 1, "not_tcp", Other, Pass, _, _, _, "IP that carries no TCP";
    NotIp = 2, "not_ip", Other, Pass, _, _, _, "neither IPv4 nor IPv6, such as ARP";
    NotProtected = 3, "not_protected", Other, Pass, _, _, _,
        "attempt to an address and port of no service";
    LaterFragment = 4, "later_fragment", Other, Pass, _, _, _, "fragment other than the first";
    Truncated = 5, "truncated", Other, Pass, _, _, _,
        "ends before its headers do; the kernel discards it";
    Malformed = 6, "malformed", Other, Pass, _, _, _,
        "impossible header length; the kernel discards it";
    TooManyTags = 7, "too_many_tags", Other, Pass, _, _, _, "more than two VLAN tags";
    NoPolicy = 8, "no_policy", Other, Pass, _, _, _,
        "no policy was written yet, or a record of it is missing";
    Allowed = 9, "allowed", Other, Pass, _, _, _, "source is on the allow list";
    Admitted = 10, "admitted", Attempt, Pass, _, LetIn, _, "attempt within every limit";
    Contended = 11, "contended", Attempt, Pass, _, LetIn, _,
        "attempt passed uncharged: too many CPUs at one record";
    Proven = 12, "proven", Proof, Pass, _, _, _,
        "packet that brought its cookie back: the connection is admitted, and charged";
    Unanswered = 13, "unanswered", Attempt, Pass, _, LetIn, _,
        "attempt passed unchallenged: nobody listens, or nobody else can answer it";
    Challenged = 15, "challenged", Attempt, Answer, _, Challenged, _,
        "attempt answered with a SYN cookie, at no charge";
    SourceLimit = 16, "source_limit", Attempt, Drop, Own, OverLimit, Sources,
        "source is over its limit";
    ServiceBudget = 17, "service_budget", Attempt, Drop, Budget, Spent, Users,
        "budget of the service is spent";
    GlobalBudget = 18, "global_budget", Attempt, Drop, Budget, Spent, Users,
        "budget of the host is spent";
    Banned = 19, "banned", Other, Drop, _, _, _, "source is banned";
    ShortFragment = 20, "short_fragment", Other, Drop, _, _, _,
        "first fragment too short to show its TCP flags (RFC 1858, RFC 7112)";
    OverlappingFragment = 21, "overlapping_fragment", Other, Drop, _, _, _,
        "fragment that would overwrite TCP flags (RFC 3128)";
    TooManyHeaders = 22, "too_many_headers", Other, Drop, _, _, _,
        "more or longer IPv6 extension headers or VLAN tags than any client sends";
    BadCookie = 26, "bad_cookie", Cookie, Drop, _, _, _,
        "cookie or reset in a fragment, or cookie past the first byte of a handshake that had to wait";
    Waiting = 27, "waiting", Proof, Drop, _, _, Users,
        "ACK with a good cookie, over a limit: the client's next one asks again";
    BadFlags = 28, "bad_flags", Attempt, Drop, _, Unfit, _,
        "attempt with a FIN or RST beside its SYN; the kernel discards it";
    QueueFull = 29, "queue_full", Attempt, Drop, _, Unfit, Server,
        "the listener's accept queue is full, and the kernel would drop it";
    Unanswerable = 30, "unanswerable", Attempt, Drop, _, Unfit, Users,
        "attempt that cannot be challenged, beyond the few that pass of those";
    Asked = 31, "asked", Attempt, Pass, _, Challenged, _,
        "attempt within every limit, at no charge: the kernel answers it with a cookie";
    Held = 32, "held", Other, Drop, _, _, _,
        "segment behind the first of a connection that waits: its client sends it again";
    InLine = 33, "in_line", Attempt, Drop, Budget, InLine, Users,
        "source waits in line: a budget is short, or as many users are present as may be";
    Diverted = 34, "diverted", Attempt, Pass, Budget, Diverted, Room,
        "attempt refused for want of a budget or in line: the kernel hands it to the waiting room";
    DivertedProof = 35, "diverted_proof", Diversion, Pass, _, _, Room,
        "ACK with a good cookie, refused for the same: the kernel hands it to the waiting room";
    DivertedFull = 36, "diverted_full", Diversion, Pass, _, _, Server,
        "ACK with a good cookie, whose server takes no connections: it goes to the waiting room";
    OpenSource = 38, "open_source", Attempt, Drop, Own, OverLimit, Sources,
        "source has as many connections open as it may";
    OpenBudget = 39, "open_budget", Attempt, Drop, Budget, Spent, Users,
        "as many connections are open as may be, to the service or to the host";
    NetworkLimit = 40, "network_limit", Attempt, Drop, Network, OverLimit, Sources,
        "network of the source is over its limit";
    OpenNetwork = 41, "open_network", Attempt, Drop, Network, OverLimit, Sources,
        "network of the source has as many connections open as it may";
}

impl Reason {
    /// Whether a packet with this reason was an attempt to a protected service.
    pub const fn is_attempt(self) -> bool {
        matches!(self.packet(), Packet::Attempt)
    }

    /// Whether it is the good cookie of an attempt that was asked for it.
    pub const fn is_proof(self) -> bool {
        matches!(self.packet(), Packet::Proof)
    }

    /// Whether it lets a connection in: as an attempt, or as what brings a cookie back. Each
    /// connection once.
    pub const fn admits(self) -> bool {
        bits::has(bits::ADMITS, self as u64)
    }

    /// Whether a service with a waiting room may divert it: it was refused for want of a budget, or
    /// waits in line. In a service with a line a spent budget refuses only who need not wait, and
    /// whose next SYN is likely to be let in.
    #[inline(always)]
    pub const fn may_be_diverted(self, has_line: bool) -> bool {
        matches!(self, Self::InLine | Self::OpenBudget)
            || !has_line && matches!(self, Self::ServiceBudget | Self::GlobalBudget)
    }

    /// Whether it drops.
    pub const fn drops(self) -> bool {
        matches!(self.verdict(), Verdict::Drop)
    }

    /// Whether it keeps a packet from the service: it drops, or goes to the waiting room.
    pub const fn refuses(self) -> bool {
        self.drops() || self.is_diverted()
    }

    /// Whether the waiting room answers it.
    pub const fn is_diverted(self) -> bool {
        matches!(self, Self::Diverted | Self::DivertedProof | Self::DivertedFull)
    }

    /// Whether it is a limit's refusal of an attempt.
    #[inline(always)]
    pub const fn is_limit(self) -> bool {
        bits::has(bits::LIMIT, self as u64)
    }

    /// Whether a service may answer it with a reset: a limit's refusal, and an ACK that is dropped.
    /// The client of such an ACK takes its connection for made, and one that waits for the server
    /// to speak first would send nothing more.
    #[inline(always)]
    pub const fn may_be_reset(self) -> bool {
        bits::has(bits::RESET, self as u64)
    }
}

/// Reasons as bits of a number: which of them are in a set costs one shift.
pub mod bits {
    use super::{Group, Limit, Packet, Reason};
    use crate::record::REASONS;

    /// Those for which `$holds` is true.
    macro_rules! set {
        ($reason:ident => $holds:expr) => {{
            let (mut bits, mut index) = (0_u64, 0);
            while index < Reason::ALL.len() {
                let $reason = Reason::ALL[index];
                if $holds {
                    bits |= 1 << $reason as u64;
                }
                index += 1;
            }
            bits
        }};
    }

    /// Those that drop.
    pub const DROP: u64 = set!(reason => reason.drops());
    /// See [`Reason::admits`].
    pub(super) const ADMITS: u64 = set!(reason => matches!(reason.group(), Some(Group::LetIn))
        || reason.is_proof() && !reason.drops());
    /// Any limit.
    pub const LIMIT: u64 = set!(reason => reason.limit().is_some());
    /// A source's own limit.
    pub const OWN: u64 = set!(reason => matches!(reason.limit(), Some(Limit::Own)));
    /// What a budget does not have.
    pub const BUDGET: u64 = set!(reason => matches!(reason.limit(), Some(Limit::Budget)));
    /// See [`Reason::may_be_reset`].
    pub(super) const RESET: u64 = LIMIT & DROP
        | set!(reason => reason.drops() && matches!(reason.packet(), Packet::Proof | Packet::Cookie));

    /// Whether the reason with this number is in a set. Bits above the number are of no matter.
    #[inline(always)]
    pub const fn has(set: u64, number: u64) -> bool {
        set >> (number & (REASONS as u64 - 1)) & 1 != 0
    }
}

/// What must be true of the table: a reason that is not fits no plot and no counter.
const _: () = {
    assert!(REASONS <= u64::BITS as usize && REASONS.is_power_of_two());
    let mut index = 0;
    while index < Reason::ALL.len() {
        let reason = Reason::ALL[index];
        assert!((reason as usize) < REASONS, "raise REASONS, and the layout with it");
        assert!(
            index == 0 || (Reason::ALL[index - 1] as u8) < reason as u8,
            "in the order of their numbers"
        );
        assert!(
            reason.group().is_some() == reason.is_attempt(),
            "attempts have a group, and nothing else has"
        );
        assert!(
            reason.limit().is_none() || reason.is_attempt() && reason.refuses(),
            "a limit refuses attempts"
        );
        assert!(
            match reason.alarm() {
                None => !reason.is_diverted(),
                Some(Alarm::Room) => reason.is_diverted(),
                Some(_) => reason.refuses(),
            },
            "alerts count what does not reach the server"
        );
        index += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_unique() {
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(Reason::from_number(*reason as u8), Some(*reason));
            for other in &Reason::ALL[..index] {
                assert_ne!(reason.name(), other.name());
                assert_ne!(reason.text(), other.text());
            }
        }
    }

    /// The sets, spelled out once more: who moves a reason from one to another means to.
    #[test]
    fn what_follows_from_the_rows() {
        let those = |holds: fn(Reason) -> bool| -> [&str; 10] {
            let mut names =
                Reason::ALL.iter().filter(|reason| holds(**reason)).map(|reason| reason.name());
            core::array::from_fn(|_| names.next().unwrap_or_default())
        };
        assert_eq!(
            those(Reason::admits),
            ["admitted", "contended", "proven", "unanswered", "", "", "", "", "", ""]
        );
        let limits = ["source_limit", "service_budget", "global_budget"];
        assert_eq!(those(Reason::is_limit)[..3], limits);
        let open = ["open_source", "open_budget"];
        let networks = ["network_limit", "open_network"];
        assert_eq!(those(Reason::is_limit)[3..5], ["in_line", "diverted"]);
        assert_eq!(those(Reason::is_limit)[5..7], open);
        assert_eq!(those(Reason::is_limit)[7..9], networks);
        assert_eq!(those(Reason::may_be_reset)[..3], limits);
        assert_eq!(those(Reason::may_be_reset)[3..6], ["bad_cookie", "waiting", "in_line"]);
        assert_eq!(those(Reason::may_be_reset)[6..8], open);
        assert_eq!(those(Reason::may_be_reset)[8..], networks);
    }

    #[test]
    fn a_set_has_what_is_in_it() {
        for reason in Reason::ALL {
            assert_eq!(bits::has(bits::DROP, *reason as u64 | 1 << 32), reason.drops());
            let own = matches!(reason, Reason::SourceLimit | Reason::OpenSource);
            assert_eq!(bits::has(bits::OWN, *reason as u64), own);
            let network = matches!(reason, Reason::NetworkLimit | Reason::OpenNetwork);
            let budget = reason.is_limit() && !own && !network;
            assert_eq!(bits::has(bits::BUDGET, *reason as u64), budget);
        }
        assert!(!bits::has(u64::MAX >> 1, 63) && bits::has(1 << 63, 63));
    }
}
