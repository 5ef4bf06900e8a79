//! The threads of a worker process: how they start, what the event loop sends them, and how they end.
//!
//! Threads start after the fork, only in processes that serve requests. Signals are blocked in them: a signal that
//! nginx handled on such a thread would not wake the event loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel as channel;
use nginx_sys::{NGX_LOG_ALERT, NGX_LOG_NOTICE, ngx_cycle_t, ngx_event_t};
use once_cell::sync::OnceCell;

use crate::crash;
use crate::deliver::http;
use crate::nginx::callback::caught;
use crate::nginx::clock::SystemClock;
use crate::nginx::conf::MainConf;
#[cfg(feature = "crashpoints")]
use crate::nginx::crashpoints;
use crate::nginx::state_file::writer::StateFileWriter;
use crate::nginx::thread::{spawn, with_signals_blocked};
use crate::nginx::upstream::EventLoopUpstream;
use crate::nginx::zone::Zone;
use crate::nginx::zone::workers::Reporter;
use crate::nginx::{cycle, error_log, timer};
use crate::observation::Observation;
use crate::pipeline::order::Order;
use crate::pipeline::{Config, Parts, Store, Worker};
use crate::state::workers::Condition;
use crate::text;
use crate::units::Millis;

/// The most observations that can wait for the observer: 200 ms of a busy worker. Further ones are counted as dropped.
const CHANNEL: usize = 4096;

/// In each worker, a failed request of an upstream becomes an example at most this often.
const EXAMPLE_EVERY: Millis = Millis(100);

/// How long an exiting worker waits for its threads. nginx kills a worker 1.55 s after a fast stop.
const GRACEFUL_PATIENCE: Millis = Millis(800);
const FAST_PATIENCE: Millis = Millis(300);

/// How long it waits for the zone's lock at least, even if the time above is over.
const LOCK_PATIENCE: Millis = Millis(100);

/// The pause after which a worker tries again to start its threads.
const START_PAUSE: Millis = Millis::from_secs(10);

static PIPELINE: OnceCell<Pipeline> = OnceCell::new();

/// The zone of this worker, and how the worker is identified in the zone's reports.
static REPORTER: OnceCell<(Zone, Reporter)> = OnceCell::new();

/// The threads of this process, and what they share with the event loop.
pub(crate) struct Pipeline {
    worker: Arc<Worker<Zone, SystemClock>>,
    sender: channel::Sender<Observation>,
    receiver: channel::Receiver<Observation>,
    client: Arc<http::Client>,
    /// Disconnected when the observer's thread has ended.
    observer_done: channel::Receiver<()>,
    /// Disconnected when all couriers' threads have ended.
    couriers_done: channel::Receiver<()>,
    /// For each watched upstream, when a failed request last became an example: milliseconds of the monotonic clock, 0:
    /// never.
    examples: Vec<AtomicU64>,
    /// No other process serves requests.
    alone: bool,
    /// The writer of the state file, and what is disconnected when its thread has ended; `None`: there is no state
    /// file.
    writer: Option<(Arc<StateFileWriter>, channel::Receiver<()>)>,
}

/// The pipeline; `None`: this process does not watch.
pub(crate) fn pipeline() -> Option<&'static Pipeline> {
    PIPELINE.get()
}

/// The zone of this process; `None`: it does not watch.
pub(crate) fn zone() -> Option<Zone> {
    REPORTER.get().map(|(zone, _)| *zone)
}

impl Pipeline {
    /// Sends an observation to the observer. Never waits: if the channel is full, the observation is counted as
    /// dropped.
    pub(crate) fn send(&self, observation: Observation, upstream: &EventLoopUpstream) {
        match self.sender.try_send(observation) {
            Ok(()) => {}
            Err(error) => self.lose(&error.into_inner(), upstream),
        }
        self.worker.doorbell.ring();
    }

    #[cold]
    fn lose(&self, observation: &Observation, upstream: &EventLoopUpstream) {
        self.worker.note_lost();
        if let (Some(last), Some(_)) = (observation.attempts().last(), &observation.names) {
            upstream.peers.forget(last.peer);
        }
        observation.resolved().iter().for_each(|resolved| upstream.peers.tell_again(resolved));
    }

    /// Sends an order to the observer. Never waits. `false`: too many orders wait.
    pub(crate) fn order(&self, order: Order) -> bool {
        self.worker.order(order)
    }

    /// Is this the only process that serves requests?
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

    /// Should a failed request of this upstream become an example? `true` at most once in [`EXAMPLE_EVERY`].
    pub(crate) fn wants_example(&self, upstream: u16, now: Millis) -> bool {
        self.examples.get(usize::from(upstream)).is_some_and(|last| {
            let wanted = now.0 >= last.load(Ordering::Relaxed) + EXAMPLE_EVERY.0;
            if wanted {
                last.store(now.0, Ordering::Relaxed);
            }
            wanted
        })
    }
}

/// Starts the pipeline, if this process serves requests and an upstream is watched. A failure is logged, and tried
/// again after [`START_PAUSE`].
pub(crate) fn start(cycle: &ngx_cycle_t, conf: &MainConf) {
    let watches = cycle::serves_requests() && !conf.upstreams.is_empty();
    let Some(zone) = conf.zone.mapped.get().filter(|_| watches) else { return };
    if error_log::open(cycle, when_exiting).is_none() {
        let text = "cannot open an eventfd, messages of this worker's threads are logged when it exits";
        error_log::write(NGX_LOG_ALERT, cycle.log, text);
    }
    #[cfg(feature = "crashpoints")]
    crashpoints::arm(cycle);
    let generation = conf.zone.generation.get();
    let reporter = Reporter { generation, number: cycle::worker_number(), process: std::process::id() };
    let zone = zone.of_worker(reporter.process, conf.zone.file.is_some());
    let (zone, reporter) = *REPORTER.get_or_init(|| (zone, reporter));
    if let Err(error) = launch(cycle, conf, zone, reporter) {
        let seconds = START_PAUSE.as_secs();
        let error = text::os_error(&error);
        let text =
            format!("cannot start a thread ({error}), this worker does not watch and tries again every {seconds} s");
        error_log::write(NGX_LOG_ALERT, cycle.log, &text);
        timer::after(START_PAUSE, cycle.log, Some(start_again));
    }
}

/// Called by the timer after a failed start.
unsafe extern "C" fn start_again(event: *mut ngx_event_t) {
    caught(|| {
        let (Some(cycle), Some(&(zone, reporter))) = (cycle::current(), REPORTER.get()) else { return };
        let Some(conf) = MainConf::of_cycle(cycle).filter(|_| !cycle::is_exiting()) else { return };
        match launch(cycle, conf, zone, reporter) {
            Ok(()) => error_log::write(NGX_LOG_NOTICE, cycle.log, "this worker watches from now on"),
            // SAFETY: the event that was made for this, which nothing else uses.
            Err(_) => unsafe { event.as_mut() }.map_or((), |event| timer::again(START_PAUSE, event)),
        }
    });
}

/// Starts all threads. `Err`: one could not be started, and the others end.
fn launch(cycle: &ngx_cycle_t, conf: &MainConf, zone: Zone, reporter: Reporter) -> std::io::Result<()> {
    let config = Config {
        upstreams: conf.upstreams.iter().map(|upstream| upstream.watched.clone()).collect(),
        receivers: conf.receivers.clone(),
        generation: reporter.generation,
    };
    let services = conf.upstreams.iter().filter(|upstream| upstream.watched.is_service());
    let choices = services.map(|service| (usize::from(service.index), Arc::clone(&service.choices))).collect();
    let examples = config.upstreams.iter().map(|_| AtomicU64::new(0)).collect();
    let couriers = config.receivers.len();
    let (process, log) = (reporter.process, Box::new(error_log::send));
    let worker = Arc::new(Worker::new(Parts { choices, config, store: zone, clock: SystemClock, process, log }));
    let client = Arc::new(http::Client::default());
    let (sender, receiver) = channel::bounded(CHANNEL);
    let (observer_ends, observer_done) = channel::bounded::<()>(0);
    let (courier_ends, couriers_done) = channel::bounded::<()>(0);
    let (writer_ends, writer_done) = channel::bounded::<()>(0);
    let writer = conf.zone.file.clone().map(|file| Arc::new(StateFileWriter::new(file, zone, worker.process)));

    zone.workers().note(reporter, Condition::Joining);
    let mut joins = false;
    let started = with_signals_blocked(|| {
        let observer = Arc::clone(&worker);
        let observations = receiver.clone();
        let panicked = move || zone.workers().note(reporter, Condition::Panicked);
        let observe = move || {
            let has_room = observer.join();
            zone.workers().note(reporter, if has_room { Condition::Watching } else { Condition::NoRoom });
            observer.observe(&observations);
        };
        spawn("observer", observer_ends, observe, panicked)?;
        joins = true;
        for index in 0..couriers {
            let (courier, client) = (Arc::clone(&worker), Arc::clone(&client));
            spawn("courier", courier_ends.clone(), move || courier.deliver(index, &*client), || {})?;
        }
        if let Some(writer) = writer.clone() {
            // Named as in the error log and on the status page, where a process keeps the state file.
            spawn("keeper", writer_ends, move || writer.run(), || {})?;
        }
        Ok::<_, std::io::Error>(())
    });
    drop(courier_ends);
    if let Err(error) = started {
        worker.stop_observing();
        worker.stop_delivering();
        if !joins {
            worker.join_within(LOCK_PATIENCE);
        }
        let number = error.raw_os_error().and_then(|number| u16::try_from(number).ok());
        zone.workers().note(reporter, Condition::NoThread(number.unwrap_or_default()));
        return Err(error);
    }
    let alone = cycle::is_single() || cycle::worker_processes(cycle) == 1;
    let writer = writer.map(|writer| (writer, writer_done));
    let pipeline = Pipeline { worker, sender, receiver, client, observer_done, couriers_done, examples, alone, writer };
    if PIPELINE.set(pipeline).is_err() {
        error_log::write(NGX_LOG_ALERT, cycle.log, "started twice in one process");
    }
    Ok(())
}

/// Ends the pipeline: folds the observations, and leaves undelivered messages in the zone for other workers. It waits
/// for a limited time, even if another process holds the zone's lock and is stopped.
pub(crate) fn end(cycle: &ngx_cycle_t) {
    if let Some(pipeline) = PIPELINE.get() {
        let patience = if cycle::is_terminating() { FAST_PATIENCE } else { GRACEFUL_PATIENCE };
        let until = Instant::now() + Duration::from_millis(patience.0);
        let left = || {
            let left = until.saturating_duration_since(Instant::now());
            Millis(left.as_millis() as u64).max(LOCK_PATIENCE)
        };
        let worker = &pipeline.worker;
        crash::at("exit-begun");
        worker.stop_observing();
        if has_ended(&pipeline.observer_done, until) {
            crash::at("exit-observed");
            // The observer has emptied the channel, but requests may have been logged since.
            worker.finish(&pipeline.receiver, left());
        } else {
            worker.give_up(&pipeline.receiver);
        }
        worker.stop_delivering();
        if !has_ended(&pipeline.couriers_done, until) {
            pipeline.client.shutdown();
        }
        worker.store.with_patience(left(), |table| table.release(worker.process));
        worker.store.notify();
        if let Some((writer, done)) = &pipeline.writer {
            writer.stop();
            // A thread that is not writing waits for the lock and holds nothing.
            if !writer.is_writing() || has_ended(done, until) {
                writer.write_last();
            }
        }
    }
    if let Some((zone, reporter)) = REPORTER.get() {
        zone.workers().retract(*reporter);
    }
    error_log::close(cycle);
}

/// Called when nginx begins to shut this worker down, which takes as long as its last request.
fn when_exiting() {
    if let Some((writer, _)) = PIPELINE.get().and_then(|pipeline| pipeline.writer.as_ref()) {
        writer.note_exiting();
    }
}

fn has_ended(done: &channel::Receiver<()>, until: Instant) -> bool {
    // Nothing is sent on this channel: the thread drops its end of it when it ends.
    matches!(done.recv_deadline(until), Err(channel::RecvTimeoutError::Disconnected))
}
