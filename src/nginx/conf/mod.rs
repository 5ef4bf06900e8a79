//! Configuration: lines while nginx reads them, and what is watched once it has read all.
//!
//! The lines are read and judged by [`crate::directives`], which needs no nginx. Here they are kept in nginx's places for them,
//! meet the upstream blocks as nginx has read them, and become what the log phase and the workers use.

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
use crate::nginx::reply::Reply;
use crate::nginx::upstream::EventLoopUpstream;
use crate::status::cache::StatusCache;
use crate::text::Name;
use locations::StatusLocation;
use zone::ZoneConf;

/// The whole configuration of one cycle.
#[derive(Default)]
pub(crate) struct MainConf {
    /// The lines that belong to `http` alone.
    pub(crate) said: Http,
    /// Where the state is kept.
    pub(crate) zone: ZoneConf,
    /// Who is told.
    pub(crate) receivers: Vec<Receiver>,
    /// What is watched.
    pub(crate) upstreams: Vec<EventLoopUpstream>,
    /// Where it is shown.
    pub(crate) status_locations: Vec<StatusLocation>,
    /// What this worker shows there now.
    pub(crate) status_cache: RefCell<StatusCache<Reply>>,
}

impl MainConf {
    /// That of a request's configuration, which outlives the request.
    pub(crate) fn of_request<'a>(r: &ngx_http_request_t) -> Option<&'a Self> {
        // SAFETY: made by create_main_conf, and only read once it is finished.
        lookup::ours(r.main_conf).map(|conf| unsafe { conf.as_ref() })
    }

    /// That of a cycle; `None`: it has no `http` block.
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

    /// The watched upstream that has a peer of this name, or this name itself; `None` where several have it.
    pub(crate) fn upstream_with_peer(&self, name: &[u8]) -> Option<&EventLoopUpstream> {
        let mut found = self.upstreams.iter().filter(|upstream| upstream.answers_to(name));
        match (found.next(), found.next()) {
            (found, None) => found,
            _ => None,
        }
    }

    /// Everything has been read: finds what is watched and who is told, checks what could not be checked before, and asks for
    /// the zone, with `module` as its tag. What is wrong has been logged when this fails.
    pub(crate) fn finish(&mut self, cf: &mut ngx_conf_t, module: *mut c_void) -> Result<(), ()> {
        let watch = self.judge(cf).map_err(|error| log::emerg_at(cf, &error))?;
        for remark in self.status_locations.iter().filter_map(|location| location.remark(cf)) {
            log::warn_at(cf, &remark);
        }
        if watch.is_none() {
            return Ok(());
        }
        self.zone.open_file(cf, &self.said).map_err(|error| log::emerg_at(cf, &error))?;
        let watched: Vec<Name> = self.upstreams.iter().map(|upstream| upstream.watched.name).collect();
        self.zone.ask(cf, &self.said, &watched, module)
    }

    /// Returns the place of the `poolwatch on` that first took effect, if any did.
    fn judge(&mut self, cf: &ngx_conf_t) -> Result<Option<Place>, Remark> {
        let http = watched::http(cf).unwrap_or_default();
        let blocks = blocks::upstreams(cf);
        let (upstreams, first) = watched::watch(cf, &http, &blocks)?;
        self.upstreams = upstreams;
        self.open_receivers(cf)?;
        let for_all = in_effect(&Block::default(), &http).watched;
        match (&first, self.said.receivers.first(), for_all) {
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

    /// Reads the receivers' secrets, in the process that starts nginx: its workers may not.
    fn open_receivers(&mut self, cf: &ngx_conf_t) -> Result<(), Remark> {
        if cycle::is_signaller() {
            return Ok(());
        }
        let prefix = blocks::conf_prefix(cf);
        for line in &self.said.receivers {
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
