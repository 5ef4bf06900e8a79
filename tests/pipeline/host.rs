//! A host in a box: workers that share a table, a clock that moves only when the test moves it, a list as the network.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{Receiver as Channel, Sender, unbounded};
use ngx_http_poolwatch_module::clock::Clock;
use ngx_http_poolwatch_module::config::blocks::ChoiceCounter;
use ngx_http_poolwatch_module::config::receiver::{Endpoint, Receiver, ReceiverKind};
use ngx_http_poolwatch_module::config::rules::Rules;
use ngx_http_poolwatch_module::config::upstream::{ConfiguredPeer, Role, WatchedUpstream};
use ngx_http_poolwatch_module::deliver::{Post, PostError, Reply};
use ngx_http_poolwatch_module::observation::{Attempt, Names, Observation, Verdict};
use ngx_http_poolwatch_module::outbox::MAX_RECEIVERS;
use ngx_http_poolwatch_module::outbox::receiver::ReceiverState;
use ngx_http_poolwatch_module::pipeline::log_line::LogLine;
use ngx_http_poolwatch_module::pipeline::order::Order;
use ngx_http_poolwatch_module::pipeline::{Config, Parts, Store, Worker};
use ngx_http_poolwatch_module::shared::double_buffer::DoubleBuffer;
use ngx_http_poolwatch_module::state::announcements::Announcements;
use ngx_http_poolwatch_module::state::slot::Slot;
use ngx_http_poolwatch_module::state::table::Table;
use ngx_http_poolwatch_module::text::{Name, Text};
use ngx_http_poolwatch_module::units::Millis;
use serde_json::Value;

pub(crate) const BLUE: u16 = 0;
pub(crate) const GREEN: u16 = 1;

/// What the zone contains.
pub(crate) struct Contents {
    pub(crate) receivers: DoubleBuffer<[ReceiverState; MAX_RECEIVERS]>,
    pub(crate) announcements: DoubleBuffer<Announcements>,
    pub(crate) due: Millis,
    pub(crate) slots: Vec<Slot>,
}

/// The zone of a test.
#[derive(Clone)]
pub(crate) struct Shared(pub(crate) Arc<Mutex<Contents>>);

impl Shared {
    pub(crate) fn empty() -> Self {
        Self::with_slots(4)
    }

    pub(crate) fn with_slots(slots: usize) -> Self {
        let slots = (0..slots).map(|_| Slot::empty()).collect();
        let receivers = DoubleBuffer::new([ReceiverState::default(); MAX_RECEIVERS]);
        let announcements = DoubleBuffer::new(Announcements::default());
        Self(Arc::new(Mutex::new(Contents { receivers, announcements, due: Millis::ZERO, slots })))
    }
}

impl Store for Shared {
    fn with<R>(&self, f: impl FnOnce(&mut Table<'_>) -> R) -> R {
        let mut shared = self.0.lock().expect("no test panics under the lock");
        let Contents { receivers, announcements, due, slots } = &mut *shared;
        f(&mut Table { receivers, announcements, due, slots })
    }

    fn with_patience<R>(&self, _patience: Millis, f: impl FnOnce(&mut Table<'_>) -> R) -> Option<R> {
        Some(self.with(f))
    }

    fn notifications(&self) -> u32 {
        0
    }

    fn notify(&self) {}

    fn wait(&self, _notifications: u32, _span: Option<Millis>) {}

    fn delivers(&self, _clock: &dyn Clock) -> bool {
        true
    }

    fn note_change(&self) {}

    fn count_lost(&self, _count: u64) {}
}

#[derive(Clone, Default)]
pub(crate) struct Time(pub(crate) Arc<AtomicU64>, Arc<AtomicI64>);

impl Time {
    /// Sets the wall clock forward by `span` milliseconds, or back.
    pub(crate) fn jump(&self, span: i64) {
        self.1.fetch_add(span, Ordering::Relaxed);
    }
}

impl Clock for Time {
    fn now(&self) -> Millis {
        Millis(self.0.load(Ordering::Relaxed))
    }

    fn wall(&self) -> u64 {
        (1_790_000_000_000 + self.now().0).saturating_add_signed(self.1.load(Ordering::Relaxed))
    }

    fn is_alive(&self, _process: u32) -> bool {
        true
    }

    fn host(&self) -> String {
        "web1".to_owned()
    }
}

/// A receiver that keeps the messages that it accepts, and answers with a given status.
#[derive(Clone)]
pub(crate) struct Slack {
    pub(crate) bodies: Arc<Mutex<Vec<Value>>>,
    pub(crate) status: Arc<AtomicU64>,
}

impl Post for Slack {
    fn post(&self, _endpoint: &Endpoint, body: &str) -> Result<Reply, PostError> {
        let status = self.status.load(Ordering::Relaxed) as u16;
        if status != 200 {
            return Ok(Reply { status, body: "no".into(), retry_after: None });
        }
        self.bodies.lock().expect("no panic").push(serde_json::from_str(body).expect("valid JSON"));
        Ok(Reply { status, body: "ok".into(), retry_after: None })
    }
}

/// A worker, and both ends of its channel.
pub(crate) type Process = (Worker<Shared, Time>, Sender<Observation>, Channel<Observation>);

/// A host with some workers.
pub(crate) struct Host {
    pub(crate) shared: Shared,
    pub(crate) time: Time,
    pub(crate) slack: Slack,
    pub(crate) workers: Vec<Process>,
    pub(crate) log: Arc<Mutex<Vec<LogLine>>>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) generation: u64,
    /// What the first upstream's requests chose first, if that is a service. The workers share it.
    pub(crate) choices: Arc<ChoiceCounter>,
}

impl Host {
    pub(crate) fn new(workers: u32, rules: &Rules) -> Self {
        let time = Time::default();
        time.0.store(1_000_000, Ordering::Relaxed);
        let slack = Slack { bodies: Arc::default(), status: Arc::new(AtomicU64::new(200)) };
        let (log, receivers) = (Arc::default(), vec![receiver()]);
        let (shared, choices) = (Shared::empty(), Arc::default());
        let mut host = Self { shared, time, slack, workers: Vec::new(), log, receivers, generation: 0, choices };
        host.load(workers, rules);
        host
    }

    /// A reload with other rules.
    pub(crate) fn load(&mut self, workers: u32, rules: &Rules) {
        self.configure(workers, &[upstream(rules)]);
    }

    /// A reload: new workers share the table, and the old ones are gone.
    pub(crate) fn configure(&mut self, workers: u32, upstreams: &[WatchedUpstream]) {
        self.generation += 1;
        self.choices = Arc::default();
        let is_service = upstreams.first().is_some_and(WatchedUpstream::is_service);
        let choices: Vec<_> = is_service.then(|| (0, Arc::clone(&self.choices))).into_iter().collect();
        self.workers = (0..workers)
            .map(|process| {
                let (upstreams, receivers) = (upstreams.to_vec(), self.receivers.clone());
                let config = Config { upstreams, receivers, generation: self.generation };
                let log = Arc::clone(&self.log);
                let log = Box::new(move |line| log.lock().expect("no panic").push(line));
                let process = self.generation as u32 * 100 + process;
                let (store, clock) = (self.shared.clone(), self.time.clone());
                let choices = choices.clone();
                let worker = Worker::new(Parts { choices, config, store, clock, process, log });
                let (sender, channel) = unbounded();
                (worker, sender, channel)
            })
            .collect();
        self.run(0);
    }

    /// Sends a request to a worker: attempts as (peer, verdict), and the client's status.
    pub(crate) fn request(&mut self, worker: usize, attempts: &[(u16, Verdict)], status: u16) {
        let mut seen = Observation { status, ..Observation::default() };
        for &(peer, verdict) in attempts {
            seen.push(Attempt { peer, verdict, status, start: self.time.now(), to_header: 1 });
        }
        let pool = match attempts.last() {
            Some(&(peer, Verdict::Ok)) => ["blue", "green", "red"][usize::from(peer)],
            _ => "",
        };
        seen.names = Some(Arc::new(Names { pool: Name::new(pool.as_bytes()), release: Text::new(b"v1.2.3") }));
        self.send(worker, seen);
    }

    pub(crate) fn send(&self, worker: usize, seen: Observation) {
        self.workers[worker].1.send(seen).expect("the channel is open");
    }

    /// Gives the first worker an order.
    pub(crate) fn order(&self, order: Order) {
        assert!(self.workers[0].0.order(order), "too many orders wait");
    }

    /// How many lines of error.log contain these words.
    pub(crate) fn lines_with(&self, words: &str) -> usize {
        self.log.lock().expect("no panic").iter().filter(|line| line.text.contains(words)).count()
    }

    pub(crate) fn served_by(&mut self, peer: u16) {
        self.request(0, &[(peer, Verdict::Ok)], 200);
    }

    /// Lets time pass while all loops run, in steps of 100 ms.
    pub(crate) fn run(&mut self, millis: u64) {
        self.run_with(millis, &self.slack);
    }

    /// The same, with another receiver.
    pub(crate) fn run_with(&self, millis: u64, post: &impl Post) {
        let until = self.time.0.load(Ordering::Relaxed) + millis;
        loop {
            for (worker, _, channel) in &self.workers {
                worker.fold(channel);
                worker.stop_delivering();
                worker.deliver(0, post);
            }
            let now = self.time.0.load(Ordering::Relaxed);
            if now >= until {
                return;
            }
            self.time.0.store((now + 100).min(until), Ordering::Relaxed);
        }
    }

    pub(crate) fn titles(&self) -> Vec<String> {
        let bodies = self.slack.bodies.lock().expect("no panic");
        bodies.iter().map(|body| body["text"].as_str().expect("a text").to_owned()).collect()
    }
}

pub(crate) fn upstream(rules: &Rules) -> WatchedUpstream {
    let peer = |address: &str, role| ConfiguredPeer { address: address.into(), role, ..ConfiguredPeer::default() };
    WatchedUpstream {
        name: Name::new(b"app"),
        rules: *rules,
        pools: vec![],
        peers: vec![peer("127.0.0.1:3001", Role::Primary), peer("127.0.0.1:3002", Role::Backup)],
        ..WatchedUpstream::default()
    }
}

pub(crate) fn receiver() -> Receiver {
    let endpoint = Endpoint {
        url: "https://hooks.example/services/T/B/secret".into(),
        timeout: Millis::from_secs(10),
        ca_pem: vec![],
        proxy: String::new(),
    };
    Receiver { name: Name::new(b"slack"), kind: ReceiverKind::Slack, endpoint, send_resolved: true }
}
