//! Why a packet passed or was dropped. Every packet has exactly one reason.

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

macro_rules! reasons {
    ($($variant:ident = $number:literal, $verdict:ident, $name:literal, $text:literal;)*) => {
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

            /// What it does to a packet.
            #[inline(always)]
            pub const fn verdict(self) -> Verdict {
                match self { $(Reason::$variant => Verdict::$verdict,)* }
            }

            /// Name in JSON and in tables.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// One line for a person.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    NotAttempt = 0, Pass, "not_attempt", "TCP that opens no connection";
    NotTcp = 1, Pass, "not_tcp", "IP that carries no TCP";
    NotIp = 2, Pass, "not_ip", "neither IPv4 nor IPv6, such as ARP";
    NotProtected = 3, Pass, "not_protected", "attempt to an address and port of no service";
    LaterFragment = 4, Pass, "later_fragment", "fragment other than the first";
    Truncated = 5, Pass, "truncated", "ends before its headers do; the kernel discards it";
    Malformed = 6, Pass, "malformed", "impossible header length; the kernel discards it";
    TooManyTags = 7, Pass, "too_many_tags", "more than two VLAN tags";
    NoPolicy = 8, Pass, "no_policy", "no policy was written yet, or a record of it is missing";
    Allowed = 9, Pass, "allowed", "source is on the allow list";
    Admitted = 10, Pass, "admitted", "attempt within every limit";
    Contended = 11, Pass, "contended", "attempt passed uncharged: too many CPUs at one record";
    Proven = 12, Pass, "proven", "ACK that brought its cookie back: the connection is admitted";
    Unanswered = 13, Pass, "unanswered", "attempt passed unchallenged: nobody listens, or nobody else can answer it";
    Redeemed = 14, Pass, "redeemed", "ACK with a good cookie of an attempt that was admitted and charged when it came";
    Challenged = 15, Answer, "challenged", "attempt answered with a SYN cookie, at no charge";
    SourceLimit = 16, Drop, "source_limit", "source is over its limit";
    ServiceBudget = 17, Drop, "service_budget", "budget of the service is spent";
    GlobalBudget = 18, Drop, "global_budget", "budget of the host is spent";
    Banned = 19, Drop, "banned", "source is banned";
    ShortFragment = 20, Drop, "short_fragment", "first fragment too short to show its TCP flags (RFC 1858, RFC 7112)";
    OverlappingFragment = 21, Drop, "overlapping_fragment", "fragment that would overwrite TCP flags (RFC 3128)";
    TooManyHeaders = 22, Drop, "too_many_headers", "more or longer IPv6 extension headers or VLAN tags than any client sends";
    Newcomer = 23, Drop, "newcomer", "source without a ticket: what is left of the budget is for those who hold one";
    NewcomerRate = 24, Drop, "newcomer_rate", "more newcomers than the service takes";
    FairShare = 25, Drop, "fair_share", "a budget is short, and the source is over its equal share";
    BadCookie = 26, Drop, "bad_cookie", "ACK for a connection that does not exist, with a wrong cookie";
    Waiting = 27, Drop, "waiting", "ACK with a good cookie, over a limit: the client's next one asks again";
    BadFlags = 28, Drop, "bad_flags", "attempt with a FIN or RST beside its SYN; the kernel discards it";
    QueueFull = 29, Drop, "queue_full", "attempt without a cookie: the listener's accept queue is full, and the kernel would drop it";
    Unanswerable = 30, Drop, "unanswerable", "attempt that cannot be challenged, beyond the few that pass of those";
}

impl Reason {
    /// Whether a packet with this reason was an attempt to a protected service.
    pub const fn is_attempt(self) -> bool {
        matches!(
            self,
            Reason::Admitted
                | Reason::Contended
                | Reason::Unanswered
                | Reason::Challenged
                | Reason::SourceLimit
                | Reason::ServiceBudget
                | Reason::GlobalBudget
                | Reason::Newcomer
                | Reason::NewcomerRate
                | Reason::FairShare
                | Reason::BadFlags
                | Reason::QueueFull
                | Reason::Unanswerable
        )
    }

    /// Whether it lets a connection in: as an attempt, or as the ACK of a challenged one. Each connection once: the ACK of an admitted
    /// attempt is redeemed.
    pub const fn admits(self) -> bool {
        matches!(self, Reason::Admitted | Reason::Contended | Reason::Unanswered | Reason::Proven)
    }

    /// Whether it is a limit's refusal, which a service may answer with a reset.
    #[inline(always)]
    pub const fn is_limit(self) -> bool {
        matches!(
            self,
            Reason::SourceLimit
                | Reason::ServiceBudget
                | Reason::GlobalBudget
                | Reason::Newcomer
                | Reason::NewcomerRate
                | Reason::FairShare
        )
    }
}

/// Reasons as bits of a number: which of them are in a set costs one shift.
pub mod bits {
    use super::{Reason, Verdict};

    /// Those that drop.
    pub const DROP: u32 = {
        let (mut bits, mut index) = (0, 0);
        while index < Reason::ALL.len() {
            let reason = Reason::ALL[index];
            if matches!(reason.verdict(), Verdict::Drop) {
                bits |= 1 << reason as u32;
            }
            index += 1;
        }
        bits
    };
    /// A source's own limit, or its share.
    pub const OWN: u32 = 1 << Reason::SourceLimit as u32 | 1 << Reason::FairShare as u32;
    /// What a budget does not have.
    pub const BUDGET: u32 = 1 << Reason::ServiceBudget as u32
        | 1 << Reason::GlobalBudget as u32
        | 1 << Reason::Newcomer as u32
        | 1 << Reason::NewcomerRate as u32;
}

const _: () = {
    let mut index = 0;
    while index < Reason::ALL.len() {
        assert!((Reason::ALL[index] as usize) < crate::record::REASONS);
        index += 1;
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_ordered() {
        for pair in Reason::ALL.windows(2) {
            assert!((pair[0] as u8) < (pair[1] as u8));
            assert_ne!(pair[0].name(), pair[1].name());
        }
    }
}
