//! Why a packet passed or was dropped. Every packet has exactly one reason.

/// What a reason does to the packet when the mode is enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on to the kernel.
    Pass,
    /// It ends here.
    Drop,
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
    SourceLimit = 16, Drop, "source_limit", "source is over its limit";
    ServiceBudget = 17, Drop, "service_budget", "budget of the service is spent";
    GlobalBudget = 18, Drop, "global_budget", "budget of the host is spent";
    Banned = 19, Drop, "banned", "source is banned";
    ShortFragment = 20, Drop, "short_fragment", "first fragment too short to show its TCP flags (RFC 1858, RFC 7112)";
    OverlappingFragment = 21, Drop, "overlapping_fragment", "fragment that would overwrite TCP flags (RFC 3128)";
    TooManyHeaders = 22, Drop, "too_many_headers", "longer chain of IPv6 extension headers than any client sends";
}

impl Reason {
    /// Whether a packet with this reason was an attempt to a protected service.
    pub const fn is_attempt(self) -> bool {
        matches!(
            self,
            Reason::Admitted | Reason::Contended | Reason::SourceLimit | Reason::ServiceBudget | Reason::GlobalBudget
        )
    }
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
