//! Our configuration: first the directives as nginx reads them, then what they mean together.
//!
//! Directives are read and checked by [`crate::directives`], without nginx. These files store them in nginx's
//! configuration, pass them nginx's upstream blocks, and keep the result for the log phase and the workers.

pub(crate) mod lookup;
pub(crate) mod log;
mod blocks;
pub(crate) mod locations;
pub(crate) mod watched;
pub(crate) mod zone;

use std::cell::RefCell;
use std::ffi::c_void;

use nginx_sys::{ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module, ngx_http_request_t};

use crate::config::receiver::Receiver;
use crate::directives::block::{Block, Http};
use crate::directives::in_effect;
use crate::directives::place::{Place, Remark};
use crate::directives::receiver::line::Unopened;
use crate::nginx::cycle;
use crate::nginx::groups::Notes;
use crate::nginx::reply::Reply;
use crate::nginx::upstream::EventLoopUpstream;
use crate::status::cache::StatusCache;
use crate::text::Name;
use locations::StatusLocation;
use zone::ZoneConf;

/// The configuration of one cycle, for all of `http`.
#[derive(Default)]
pub(crate) struct MainConf {
    /// The directives that only `http` can have.
    pub(crate) directives: Http,
    /// The zone and the state file.
    pub(crate) zone: ZoneConf,
    /// The receivers of messages.
    pub(crate) receivers: Vec<Receiver>,
    /// The watched upstreams.
    pub(crate) upstreams: Vec<EventLoopUpstream>,
    /// Where requests note which upstreams they asked.
    pub(crate) notes: Notes,
    /// The locations with `poolwatch_status`.
    pub(crate) status_locations: Vec<StatusLocation>,
    /// This worker's cache of responses in those locations.
    pub(crate) status_cache: RefCell<StatusCache<Reply>>,
}

impl MainConf {
    /// The configuration of a request. It outlives the request.
    pub(crate) fn of_request<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: made by create_main_conf, and only read once it is finished.
        lookup::ours(r.main_conf).map(|conf| unsafe { conf.as_ref() })
    }

    /// The configuration of a cycle; `None`: it has no `http` block.
    pub(crate) fn of_cycle(cycle: &ngx_cycle_t) -> Option<&Self> {
        // SAFETY: set before any configuration is read.
        let index = unsafe { ngx_http_module.index };
        // SAFETY: a cycle has a place for each core module.
        let context = unsafe { cycle.conf_ctx.add(index) };
        // SAFETY: as above.
        let context = unsafe { context.read() }.cast::<ngx_http_conf_ctx_t>();
        // SAFETY: null without an http block, else its context.
        let context = unsafe { context.as_ref() }?;
        // SAFETY: made by create_main_conf, alive as long as the cycle, and only read in workers.
        lookup::ours(context.main_conf).map(|conf| unsafe { conf.as_ref() })
    }

    /// To be called when all directives have been read: finds the watched upstreams and the receivers, checks what
    /// could not be checked before, and asks for the zone, with `module` as its tag. `Err`: an error was logged.
    pub(crate) fn finish(&mut self, cf: &mut ngx_conf_t, module: *mut c_void) -> Result<(), ()> {
        let watch = self.judge(cf).map_err(|error| log::emerg_at(cf, &error))?;
        for remark in self.status_locations.iter().filter_map(|location| location.remark(cf)) {
            log::warn_at(cf, &remark);
        }
        if watch.is_none() {
            return Ok(());
        }
        self.notes = Notes::reserve(cf)?;
        self.zone.open_file(cf, &self.directives).map_err(|error| log::emerg_at(cf, &error))?;
        let watched: Vec<Name> = self.upstreams.iter().map(|upstream| upstream.watched.name).collect();
        self.zone.ask(cf, &self.directives, &watched, module)
    }

    /// Finds the watched upstreams and the receivers. Returns the place of the first `poolwatch on` that has an effect,
    /// if any has.
    fn judge(&mut self, cf: &ngx_conf_t) -> Result<Option<Place>, Remark> {
        let http = watched::http(cf).unwrap_or_default();
        let blocks = blocks::upstreams(cf);
        let (upstreams, first) = watched::watch(cf, &http, &blocks, &self.directives.services)?;
        self.upstreams = upstreams;
        self.open_receivers(cf)?;
        let for_all = in_effect(&Block::default(), &http).watched;
        match (&first, self.directives.receivers.first(), for_all) {
            (Some(place), None, _) => {
                log::warn_at(cf, &place.remark("no \"poolwatch_receiver\" is given, alerts go to the error log only"));
            }
            (None, _, Some(place)) if blocks.is_empty() => {
                log::warn_at(cf, &place.remark("\"poolwatch\" is on, but there is no \"upstream\" block to watch"));
            }
            (None, Some(receiver), _) => {
                let text = "\"poolwatch_receiver\" has nothing to tell, \"poolwatch\" is on for no \"upstream\" block";
                log::warn_at(cf, &receiver.place.remark(text));
            }
            _ => {}
        }
        Ok(first)
    }

    /// Reads the receivers' secrets, while nginx starts: its workers may not be allowed to.
    fn open_receivers(&mut self, cf: &ngx_conf_t) -> Result<(), Remark> {
        if cycle::is_signaller() {
            return Ok(());
        }
        let prefix = blocks::conf_prefix(cf);
        for line in &self.directives.receivers {
            let opened = match line.value.open(&prefix, |name| std::env::var_os(name)) {
                Ok(opened) => opened,
                Err(Unopened::Unset(variable)) if cycle::is_test() => {
                    let text = format!("environment variable \"{variable}\" is not set here and cannot be checked");
                    log::warn_at(cf, &line.place.remark(text));
                    continue;
                }
                Err(unopened) => return Err(line.place.remark(unopened.phrase())),
            };
            for warning in opened.warnings {
                log::warn_at(cf, &line.place.remark(warning));
            }
            self.receivers.push(opened.receiver);
        }
        Ok(())
    }
}
