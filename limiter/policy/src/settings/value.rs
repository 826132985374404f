//! What is said about a setting, as one value, and the fields that hold such values.

use limiter_common::challenge::Challenge;
use limiter_common::rate::{Limit, Rate};
use limiter_common::record::Refuse;
use limiter_common::switch::Mode;

use super::Style;
use crate::{Prefixes, text};

/// What is said about a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A rate, a burst, or both.
    Limit(LimitChange),
    /// The length of a prefix of IPv4, of IPv6, or both.
    Prefixes(PrefixChange),
    /// A number; a time in seconds; yes as 1; a word by its place among the words of the setting.
    Number(u64),
    /// To follow the default.
    Default,
}

/// What is said about a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitChange {
    /// The rate; a count of 0 is `none`.
    pub rate: Option<Rate>,
    /// The burst.
    pub burst: Option<u64>,
}

/// What is said about prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrefixChange {
    /// Bits of IPv4, 1 to 32.
    pub v4: Option<u8>,
    /// Bits of IPv6, 1 to 128.
    pub v6: Option<u8>,
}

impl LimitChange {
    /// The limit that it makes of `old`. A rate without a burst gets the usual one. `key` is the
    /// rate's.
    ///
    /// # Errors
    /// When a burst has no rate: what to do.
    pub fn apply(&self, old: Limit, key: &str, style: Style) -> Result<Limit, String> {
        let name = style.key(key);
        match (self.rate, self.burst) {
            (None, None) => Ok(old),
            (Some(Rate { count: 0, .. }), None) => Ok(Limit::default()),
            (Some(Rate { count: 0, .. }), Some(_)) => Err(format!("{name} none takes no burst")),
            (Some(rate), burst) => {
                Ok(Limit { rate, burst: burst.unwrap_or_else(|| text::usual_burst(rate)) })
            }
            (None, Some(_)) if old.is_none() => {
                Err(format!("a burst needs its rate: give {name} too, such as 20/s"))
            }
            (None, Some(burst)) => Ok(Limit { burst, ..old }),
        }
    }
}

impl PrefixChange {
    /// The lengths that it makes of `old`.
    pub fn apply(&self, old: Prefixes) -> Prefixes {
        Prefixes { v4: self.v4.unwrap_or(old.v4), v6: self.v6.unwrap_or(old.v6) }
    }
}

impl Value {
    /// What this and `more`, of another key of the same setting, say together; `None` if one of
    /// them is to follow the default, which leaves nothing for the other to say.
    pub fn with(self, more: Self) -> Option<Self> {
        match (self, more) {
            (Self::Limit(one), Self::Limit(other)) => Some(Self::Limit(LimitChange {
                rate: one.rate.or(other.rate),
                burst: one.burst.or(other.burst),
            })),
            (Self::Prefixes(one), Self::Prefixes(other)) => Some(Self::Prefixes(PrefixChange {
                v4: one.v4.or(other.v4),
                v6: one.v6.or(other.v6),
            })),
            _ => None,
        }
    }
}

/// A type that holds the value of a setting.
pub trait Held: Sized {
    /// The value; `None` when nothing is said.
    fn value(&self) -> Option<Value>;

    /// What holds `value`; `None` if this type cannot, and then it stays as it was.
    fn of(value: Option<Value>) -> Option<Self>;

    /// Holds `value` from now on, if it can.
    fn hold(&mut self, value: Option<Value>) {
        if let Some(held) = Self::of(value) {
            *self = held;
        }
    }
}

impl<V: Held> Held for Option<V> {
    fn value(&self) -> Option<Value> {
        self.as_ref().and_then(V::value)
    }

    fn of(value: Option<Value>) -> Option<Self> {
        match value {
            None => Some(None),
            value => V::of(value).map(Some),
        }
    }
}

impl Held for Limit {
    fn value(&self) -> Option<Value> {
        Some(Value::Limit(LimitChange {
            rate: Some(self.rate),
            burst: (!self.is_none()).then_some(self.burst),
        }))
    }

    fn of(value: Option<Value>) -> Option<Self> {
        let Some(Value::Limit(LimitChange { rate: Some(rate), burst })) = value else {
            return None;
        };
        Some(Self { rate, burst: burst.unwrap_or_else(|| text::usual_burst(rate)) })
    }
}

impl Held for Prefixes {
    fn value(&self) -> Option<Value> {
        Some(Value::Prefixes(PrefixChange { v4: Some(self.v4), v6: Some(self.v6) }))
    }

    fn of(value: Option<Value>) -> Option<Self> {
        let Some(Value::Prefixes(change)) = value else { return None };
        Some(change.apply(Self::default()))
    }
}

/// Types that are a number; numbers that no setting may have come from records of any bytes.
macro_rules! numbers {
    ($($type:ty: $number:ident => $back:expr;)+) => {$(
        impl Held for $type {
            fn value(&self) -> Option<Value> {
                Some(Value::Number(*self as u64))
            }

            fn of(value: Option<Value>) -> Option<Self> {
                let Some(Value::Number($number)) = value else { return None };
                $back
            }
        }
    )+};
}

numbers! {
    u8: number => Self::try_from(number).ok();
    u32: number => Self::try_from(number).ok();
    u64: number => Some(number);
    bool: number => Some(number != 0);
    Refuse: number => Some(Self::from_number(u32::try_from(number).unwrap_or_default()));
    Challenge: number => Some(Self::from_number(u32::try_from(number).unwrap_or_default()));
    Mode: number => [Self::Observe, Self::Enforce].into_iter().find(|mode| *mode as u64 == number);
}

/// Where something holds the value of a setting.
pub struct Field<T> {
    /// Reads it.
    pub get: fn(&T) -> Option<Value>,
    /// Writes it.
    pub set: fn(&mut T, Option<Value>),
}

/// The [`Field`] at a path, such as `field!(admission.reset)`.
macro_rules! field {
    ($($path:tt)+) => {
        $crate::settings::Field {
            get: |it| $crate::settings::Held::value(&it.$($path)+),
            set: |it, value| $crate::settings::Held::hold(&mut it.$($path)+, value),
        }
    };
}
pub(crate) use field;
