//! Any bytes as a state file give no table, or a table that can be saved again and shown on every page.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ngx_http_poolwatch_module::clock::Times;
use ngx_http_poolwatch_module::outbox::MAX_RECEIVERS;
use ngx_http_poolwatch_module::outbox::receiver::ReceiverState;
use ngx_http_poolwatch_module::persist::document::Saved;
use ngx_http_poolwatch_module::persist::record;
use ngx_http_poolwatch_module::persist::record::Found;
use ngx_http_poolwatch_module::shared::double_buffer::DoubleBuffer;
use ngx_http_poolwatch_module::state::announcements::Announcements;
use ngx_http_poolwatch_module::state::slot::Slot;
use ngx_http_poolwatch_module::state::snapshot::{ModuleInfo, Snapshot};
use ngx_http_poolwatch_module::state::table::Table;
use ngx_http_poolwatch_module::status::view::StateView;
use ngx_http_poolwatch_module::status::{html, json, prometheus};
use ngx_http_poolwatch_module::units::Millis;

const NOW: Millis = Millis(50_000_000);
const WALL: u64 = 1_790_000_000_000;

fuzz_target!(|bytes: &[u8]| {
    if let Found::FileRecord(record) = record::find(bytes) {
        restore(record.text);
    }
    restore(&String::from_utf8_lossy(bytes));
});

fn restore(text: &str) {
    let Some(saved) = Saved::from_text(text) else { return };
    let (mut receivers, mut announcements, mut due) = (
        DoubleBuffer::new([ReceiverState::default(); MAX_RECEIVERS]),
        DoubleBuffer::new(Announcements::default()),
        Millis::ZERO,
    );
    let mut slots: Vec<Slot> = (0..2).map(|_| Slot::empty()).collect();
    let mut table =
        Table { receivers: &mut receivers, announcements: &mut announcements, due: &mut due, slots: &mut slots };
    let times = Times { now: NOW, wall: WALL };
    saved.restore(&mut table, &[], times);
    saved.merge(&mut table, times);
    assert!(Saved::from_text(&Saved::of(&table, 1, times).to_text()).is_some(), "cannot be saved again");
    let info = ModuleInfo { times, host: "web1".into(), ..ModuleInfo::default() };
    let state = StateView::new(&Snapshot::new(table.contents(), &[], info), true);
    for text in [prometheus::body(&state), html::page(&state, ""), json::body(json::Part::State, &state)] {
        assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n'), "{text}");
    }
}
