//! An operation failed, and what went into it comes back.

use core::error::Error;
use core::fmt;

/// Why an operation failed, and the parts that it was given by value: nobody loses a device, a ring
/// or memory to an error.
///
/// The parts come out with [`into_parts`](Self::into_parts). Who has no use for them turns the
/// whole into the plain error; an error type that implements `From<Failed<Self, P>>`, as those of
/// the drivers do, goes with `?`.
///
/// ```
/// use paravane_hal::Failed;
///
/// fn start(device: String) -> Result<(), Failed<&'static str, String>> {
///     Err(Failed::new("no link", device))
/// }
///
/// let failed = start("nic0".to_owned()).unwrap_err();
/// assert_eq!(failed.to_string(), "no link");
/// let (error, device) = failed.into_parts();
/// assert_eq!((error, device.as_str()), ("no link", "nic0"));
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Failed<E, P> {
    error: E,
    parts: P,
}

impl<E, P> Failed<E, P> {
    /// `error`, and what comes back with it.
    #[must_use]
    #[inline]
    pub const fn new(error: E, parts: P) -> Self {
        Self { error, parts }
    }

    /// What went wrong.
    #[must_use]
    #[inline]
    pub const fn error(&self) -> &E {
        &self.error
    }

    /// What went wrong, alone. The parts are dropped.
    #[must_use]
    #[inline]
    pub fn into_error(self) -> E {
        self.error
    }

    /// Both.
    #[must_use]
    #[inline]
    pub fn into_parts(self) -> (E, P) {
        (self.error, self.parts)
    }

    /// The same error with other parts: what a caller further up gave, made of what came back here.
    #[inline]
    pub fn map_parts<Q>(self, f: impl FnOnce(P) -> Q) -> Failed<E, Q> {
        Failed { error: self.error, parts: f(self.parts) }
    }
}

/// Says the error. The parts are not shown, whatever they are.
impl<E: fmt::Debug, P> fmt::Debug for Failed<E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failed").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<E: fmt::Display, P> fmt::Display for Failed<E, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl<E: Error + 'static, P> Error for Failed<E, P> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dma::{DmaError, DmaErrorReason};

    /// Shows nothing, compares with nothing: parts need no trait at all.
    struct Part(u8);

    #[derive(Debug)]
    struct Wrapping(DmaError);
    impl fmt::Display for Wrapping {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "no ring: {}", self.0)
        }
    }
    impl Error for Wrapping {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }
    impl<P> From<Failed<Self, P>> for Wrapping {
        fn from(failed: Failed<Self, P>) -> Self {
            failed.into_error()
        }
    }

    fn fail() -> Failed<Wrapping, Part> {
        Failed::new(Wrapping(DmaError::new(7, DmaErrorReason::OutOfMemory)), Part(3))
    }

    #[test]
    fn it_reads_as_its_error_does_and_keeps_the_parts() {
        let failed = fail();
        assert_eq!(failed.to_string(), failed.error().to_string());
        assert!(format!("{failed:?}").starts_with("Failed { error: Wrapping("));
        assert!(failed.source().is_some_and(|source| source.is::<DmaError>()));
        let (_, Part(part)) = failed.into_parts();
        let (_, doubled) = fail().map_parts(|Part(part)| part * 2).into_parts();
        assert_eq!((part, doubled), (3, 6));
    }

    #[test]
    fn it_goes_with_a_question_mark() {
        fn inner() -> Result<(), Wrapping> {
            Err(fail())?;
            Ok(())
        }
        assert_eq!(inner().unwrap_err().0.len_bytes, 7);
        fn boxed() -> Result<(), Box<dyn Error>> {
            Err(fail())?;
            Ok(())
        }
        assert!(boxed().unwrap_err().to_string().starts_with("no ring"));
    }
}
