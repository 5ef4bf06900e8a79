//! Named points between two stores that other processes see, or between a store and an effect outside: a test kills the
//! process at such a point.
//!
//! The points do something only with the feature `crashpoints`. `t/crash.t` finds them by their calls in the sources,
//! so the test misses none.

#[cfg(feature = "crashpoints")]
use once_cell::sync::OnceCell;

/// What happens at a point; the argument is the point's name.
#[cfg(feature = "crashpoints")]
pub type Death = Box<dyn Fn(&str) + Send + Sync>;

#[cfg(feature = "crashpoints")]
static DEATH: OnceCell<Death> = OnceCell::new();

/// Sets what happens at each point from now on. Only the first call counts.
#[cfg(feature = "crashpoints")]
pub fn arm(death: Death) {
    let _ = DEATH.set(death);
}

/// A point with this name: does what [`arm`] set; before that, nothing.
#[cfg(feature = "crashpoints")]
pub fn at(name: &str) {
    if let Some(death) = DEATH.get() {
        death(name);
    }
}

/// A point with this name. Without the feature `crashpoints` it does nothing and compiles to nothing.
#[cfg(not(feature = "crashpoints"))]
#[inline(always)]
pub fn at(_name: &str) {}
