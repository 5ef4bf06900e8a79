//! Named points between two stores that other processes see, or between a store and what the world sees: a test kills the process there.
//!
//! Only the feature `crashpoints` makes anything of them. `t/crash.t` finds them by their calls, so it can miss none.

#[cfg(feature = "crashpoints")]
use once_cell::sync::OnceCell;

/// What happens at a point, given its name.
#[cfg(feature = "crashpoints")]
pub type Death = Box<dyn Fn(&str) + Send + Sync>;

#[cfg(feature = "crashpoints")]
static DEATH: OnceCell<Death> = OnceCell::new();

/// From now on this happens at each point. Only the first call counts.
#[cfg(feature = "crashpoints")]
pub fn arm(death: Death) {
    let _ = DEATH.set(death);
}

/// The point of this name.
#[cfg(feature = "crashpoints")]
pub fn at(name: &str) {
    if let Some(death) = DEATH.get() {
        death(name);
    }
}

/// The point of this name, of which nothing is left in the module that people run.
#[cfg(not(feature = "crashpoints"))]
#[inline(always)]
pub fn at(_name: &str) {}
