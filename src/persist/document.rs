//! The table as text, by names and in wall-clock time: what outlives nginx, its shared memory and this module's layout.
//!
//! Told is what decides about messages: who serves, what is open, what each receiver has heard, silences. Counts and examples are not
//! kept. Instants count from boot inside the table and become dates here; those before the last boot come back as the boot itself.
//!
//! A pool is written as its place in the upstream's own list of names. Bytes of foreign names are written as the characters of the same
//! number, which loses none of them.

use serde::{Deserialize, Serialize};

use crate::alert::{Kind, Reasons};
use crate::detect::error_rate::Level;
use crate::outbox::receiver::Health;
use crate::persist::states::name_of;
use crate::pools::set::PoolId;
use crate::text::Name;

/// Everything that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// The zone that it is a copy of.
    pub zone: u64,
    pub(super) receivers: Vec<SavedReceiver>,
    pub(super) upstreams: Vec<SavedUpstream>,
    pub(super) notices: Vec<SavedNotice>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedReceiver {
    pub(super) name: String,
    pub(super) health: Health,
    /// Nobody sends earlier.
    pub(super) earliest: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedUpstream {
    pub(super) name: String,
    /// The configuration names it no more.
    pub(super) left: bool,
    pub(super) pools: Vec<SavedPool>,
    pub(super) peers: Vec<SavedPeer>,
    /// The pool that should serve, or several that should together.
    pub(super) expected: Vec<String>,
    /// Who served before a planned switch that is under way.
    pub(super) switching: Option<String>,
    pub(super) serving: String,
    pub(super) since: u64,
    /// The last request.
    pub(super) seen: u64,
    pub(super) error_rate: Level,
    pub(super) error_rate_since: u64,
    pub(super) flapping: bool,
    pub(super) changes: Vec<u64>,
    /// In the order of [`Key::ALL`].
    pub(super) incidents: Vec<SavedIncident>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedPool {
    pub(super) name: String,
    /// The name is a role's.
    pub(super) unnamed: bool,
    pub(super) release: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedPeer {
    pub(super) address: String,
    pub(super) pool: PoolId,
    pub(super) backup: bool,
    pub(super) certain: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedIncident {
    pub(super) generation: u64,
    pub(super) kind: Option<Kind>,
    pub(super) state: String,
    pub(super) from: String,
    pub(super) over: bool,
    /// Who served before.
    pub(super) served: String,
    pub(super) since: u64,
    pub(super) began: u64,
    /// The generation with which it began.
    pub(super) number: u64,
    pub(super) planned: bool,
    pub(super) critical: bool,
    /// What the log told, if that was something else than `kind`.
    pub(super) change: Option<Kind>,
    pub(super) requests: u64,
    pub(super) upstream_errors: u32,
    pub(super) client_errors: u32,
    pub(super) reasons: Reasons,
    pub(super) debts: Vec<SavedDebt>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedDebt {
    pub(super) receiver: String,
    pub(super) acked: u64,
    pub(super) acked_state: String,
    /// `None`: whoever wrote this did not keep it.
    pub(super) acked_open: Option<bool>,
    pub(super) acked_critical: bool,
    pub(super) owed_end: bool,
    pub(super) refused: u64,
    pub(super) plain: u64,
    pub(super) repair: bool,
    pub(super) told: Vec<(String, String, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedNotice {
    pub(super) place: usize,
    pub(super) generation: u64,
    pub(super) kind: Option<Kind>,
    pub(super) id: u64,
    pub(super) upstream: String,
    pub(super) comment: String,
    /// `None`: when the configuration says so.
    pub(super) remaining: Option<u64>,
    pub(super) began: u64,
    pub(super) since: u64,
    pub(super) debts: Vec<SavedDebt>,
}

impl Saved {
    /// One line of JSON.
    pub fn to_text(&self) -> String {
        // Numbers, strings and lists: nothing in it can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// `None`: not such a text. Fields that are not known are ignored, missing ones have their defaults.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl SavedUpstream {
    pub(super) fn name(&self) -> Name {
        name_of(&self.name)
    }
}

impl SavedDebt {
    /// Does the receiver know of an open incident? If that was not kept, it may, if it has heard of anything.
    pub(super) fn is_open(&self) -> bool {
        self.acked_open.unwrap_or(self.acked > 0)
    }
}

impl SavedIncident {
    /// As [`Debt::is_due`].
    pub(super) fn is_owed(&self, debt: &SavedDebt) -> bool {
        let unheard = debt.acked != self.generation && debt.refused != self.generation;
        let ends_nothing = self.over && !self.planned && !debt.is_open() && !debt.owed_end;
        self.generation > 0 && (debt.repair || (unheard && !ends_nothing))
    }
}
