//! The table as text, by names and in wall-clock time: what outlives nginx, its shared memory, and this module's
//! layout.
//!
//! Saved is only what decides about messages: which pool serves, what is open, what each receiver accepted, and the
//! silences. Counts and examples are not saved. Instants count from boot in the table and become dates here; a date
//! from before the last boot becomes the instant of the boot.
//!
//! A pool is written as its index in the upstream's own list of pools. The bytes of foreign names are written as the
//! characters with the same numbers, so that no byte is lost.

use serde::{Deserialize, Serialize};

use crate::alert::{Kind, Reasons};
use crate::detect::error_rate::RateState;
use crate::outbox::receiver::Health;
use crate::persist::states::name_of;
use crate::text::Name;

/// Everything that is saved. Dates are milliseconds since the epoch; 0: never.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// The number of the zone from which this was copied.
    pub zone: u64,
    pub(super) receivers: Vec<SavedReceiver>,
    pub(super) upstreams: Vec<SavedUpstream>,
    #[serde(rename = "notices")]
    pub(super) announcements: Vec<SavedAnnouncement>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedReceiver {
    pub(super) name: String,
    pub(super) health: Health,
    /// No message is sent before this date: the receiver asked for a pause.
    pub(super) earliest: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedUpstream {
    pub(super) name: String,
    /// The configuration no longer names the upstream.
    pub(super) left: bool,
    pub(super) pools: Vec<SavedPool>,
    pub(super) peers: Vec<SavedPeer>,
    /// The pool that should serve, or the pools that should serve together.
    pub(super) expected: Vec<String>,
    /// The blocks of a service.
    pub(super) blocks: Vec<SavedBlock>,
    /// The pool that served before a planned switch that is under way; `None`: none is under way.
    pub(super) switching: Option<String>,
    pub(super) serving: String,
    pub(super) since: u64,
    /// The date of the last request.
    pub(super) seen: u64,
    pub(super) error_rate: RateState,
    pub(super) error_rate_since: u64,
    pub(super) flapping: bool,
    pub(super) changes: Vec<u64>,
    /// In the order of [`crate::incident::Key::ALL`].
    pub(super) incidents: Vec<SavedIncident>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedBlock {
    pub(super) name: String,
    /// Requests are sent here first.
    pub(super) chosen: bool,
    /// No other block was chosen beside it when one was chosen alone last.
    pub(super) alone: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedPool {
    pub(super) name: String,
    /// The name is a role's, because no header has named the pool.
    pub(super) unnamed: bool,
    /// The name is a block's, for the same reason.
    pub(super) of_block: bool,
    pub(super) release: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedPeer {
    pub(super) address: String,
    pub(super) pool: u8,
    pub(super) backup: bool,
    pub(super) certain: bool,
    /// The configuration no longer names the address.
    pub(super) left: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedIncident {
    #[serde(rename = "generation")]
    pub(super) revision: u64,
    pub(super) kind: Option<Kind>,
    pub(super) state: String,
    pub(super) from: String,
    pub(super) over: bool,
    /// Which pool served before.
    pub(super) served: String,
    pub(super) since: u64,
    pub(super) began: u64,
    /// The number of the incident's first revision.
    #[serde(rename = "number")]
    pub(super) id: u64,
    pub(super) planned: bool,
    pub(super) critical: bool,
    /// What error.log reported, if that was not `kind`.
    pub(super) change: Option<Kind>,
    pub(super) requests: u64,
    pub(super) upstream_errors: u32,
    pub(super) client_errors: u32,
    pub(super) reasons: Reasons,
    #[serde(rename = "debts")]
    pub(super) deliveries: Vec<SavedDelivery>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedDelivery {
    pub(super) receiver: String,
    pub(super) acked: u64,
    pub(super) acked_state: String,
    /// `None`: the module that wrote this did not save it.
    pub(super) acked_open: Option<bool>,
    pub(super) acked_critical: bool,
    pub(super) owed_end: bool,
    pub(super) refused: u64,
    pub(super) plain: u64,
    pub(super) repair: bool,
    #[serde(rename = "told")]
    pub(super) sent: Vec<(String, String, u64)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct SavedAnnouncement {
    #[serde(rename = "place")]
    pub(super) index: usize,
    #[serde(rename = "generation")]
    pub(super) revision: u64,
    pub(super) kind: Option<Kind>,
    pub(super) id: u64,
    pub(super) upstream: String,
    pub(super) comment: String,
    /// Milliseconds until the silence ends by itself; `None`: the configuration ends it.
    pub(super) remaining: Option<u64>,
    pub(super) began: u64,
    pub(super) since: u64,
    #[serde(rename = "debts")]
    pub(super) deliveries: Vec<SavedDelivery>,
}

impl Saved {
    /// The document as one line of JSON.
    pub fn to_text(&self) -> String {
        // Numbers, strings and lists always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The document of a text; `None`: the text is none. Unknown fields are ignored; missing fields have their
    /// defaults.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl SavedUpstream {
    pub(super) fn name(&self) -> Name {
        name_of(&self.name)
    }
}

impl SavedDelivery {
    /// Did the receiver last accept an open incident? If that was not saved: yes, if the receiver accepted anything.
    pub(super) fn is_open(&self) -> bool {
        self.acked_open.unwrap_or(self.acked > 0)
    }
}

impl SavedIncident {
    /// As [`crate::outbox::delivery_state::DeliveryState::is_due`], except that flapping is ignored.
    pub(super) fn is_owed(&self, delivery: &SavedDelivery) -> bool {
        let unanswered = delivery.acked != self.revision && delivery.refused != self.revision;
        let ends_nothing = self.over && !self.planned && !delivery.is_open() && !delivery.owed_end;
        self.revision > 0 && (delivery.repair || (unanswered && !ends_nothing))
    }
}
