//! Configuration: lines while nginx reads them, and what is watched once it has read all.
//!
//! The lines are read and judged by [`crate::directives`], which needs no nginx. Here they are kept in nginx's places for them,
//! meet the upstream blocks as nginx has read them, and become what the log phase and the workers use.

mod blocks;
pub(crate) mod lookup;
pub(crate) mod log;

use std::cell::{Cell, RefCell};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::ptr::NonNull;
use std::sync::Arc;

use nginx_sys::{
    ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t, ngx_http_module, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_shared_memory_add, ngx_str_t,
};

use crate::config::receiver::Receiver;
use crate::config::upstream::Watched;
use crate::directives::block::{Block, Http, Location};
use crate::directives::in_effect;
use crate::directives::judge::judge;
use crate::directives::place::{Place, Remark};
use crate::directives::receiver::line::Unopened;
use crate::directives::zone::DEFAULT_NAME;
use crate::nginx::headers::Headers;
use crate::nginx::peer_cache::Known;
use crate::nginx::state_file::file::StateFile;
use crate::nginx::status::access::Page;
use crate::nginx::status::reply::Reply;
use crate::nginx::variables::Glance;
use crate::nginx::zone::{self, Zone};
use crate::nginx::{carry_over, cycle, zone_init};
use crate::status::cache::StatusCache;
use crate::text::Name;

/// A zone without a size has room for a multiple of so many upstreams: another upstream seldom changes it.
const STEP: usize = 16;

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
    pub(crate) upstreams: Vec<Upstream>,
    /// Where it is shown.
    pub(crate) pages: Vec<Page>,
    /// What this worker shows there now.
    pub(crate) status_cache: RefCell<StatusCache<Reply>>,
}

/// The zone, once nginx has mapped it.
#[derive(Default)]
pub(crate) struct ZoneConf {
    /// Set when nginx initialises the zone.
    pub(crate) mapped: Cell<Option<Zone>>,
    /// Its size in bytes; set with `mapped`.
    pub(crate) size: Cell<usize>,
    /// nginx made it for this configuration; set with `mapped`.
    pub(crate) is_new: Cell<bool>,
    /// This configuration's number; set when nothing can keep nginx from it any more.
    pub(crate) generation: Cell<u64>,
    /// `state=`, opened.
    pub(crate) file: Option<Arc<StateFile>>,
}

/// The configuration of one block: of each upstream, and of `http` itself, which speaks for all upstreams.
#[derive(Default)]
pub(crate) struct SrvConf {
    /// The block's lines.
    pub(crate) said: Block,
    /// Of a watched upstream block: what [`MainConf::upstreams`] has of it, which stays there.
    watched: Option<NonNull<Upstream>>,
}

/// The configuration of one location.
#[derive(Default)]
pub(crate) struct LocConf {
    /// The location's lines.
    pub(crate) said: Location,
    /// nginx's own configuration of it, where `poolwatch_status` stands.
    pub(crate) core: Option<NonNull<ngx_http_core_loc_conf_t>>,
}

/// A watched upstream as the log phase needs it.
pub(crate) struct Upstream {
    /// Its place in [`MainConf::upstreams`].
    pub(crate) index: u16,
    /// What the pipeline knows of it.
    pub(crate) watched: Watched,
    /// What the event loop remembers of it.
    pub(crate) known: Known,
    /// Which response headers are read.
    pub(crate) headers: Headers,
    /// What variables last told of it.
    pub(crate) glance: Cell<Option<Glance>>,
    /// Its peers stay what they are: no server is resolved again at run time.
    pub(crate) is_fixed: bool,
    /// nginx's own configuration of it.
    pub(crate) uscf: *const ngx_http_upstream_srv_conf_t,
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
    pub(crate) fn upstream_with_peer(&self, name: &[u8]) -> Option<&Upstream> {
        let mut found = self.upstreams.iter().filter(|upstream| upstream.answers_to(name));
        match (found.next(), found.next()) {
            (found, None) => found,
            _ => None,
        }
    }

    /// Everything has been read: finds what is watched and who is told, checks what could not be checked before, and asks for
    /// the zone. What is wrong has been logged when this fails.
    pub(crate) fn finish(&mut self, cf: &mut ngx_conf_t) -> Result<(), ()> {
        let watch = self.judge(cf).map_err(|error| log::emerg_at(cf, &error))?;
        for remark in self.pages.iter().filter_map(|page| page.remark(cf)) {
            log::warn_at(cf, &remark);
        }
        if watch.is_none() {
            return Ok(());
        }
        self.open_file(cf).map_err(|error| log::emerg_at(cf, &error))?;
        self.ask_for_zone(cf)
    }

    /// Returns the place of the `poolwatch on` that first took effect, if any did.
    fn judge(&mut self, cf: &ngx_conf_t) -> Result<Option<Place>, Remark> {
        let http = blocks::http(cf).unwrap_or_default();
        let blocks = blocks::upstreams(cf);
        let first = self.watch(cf, &http, &blocks)?;
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

    fn watch(
        &mut self,
        cf: &ngx_conf_t,
        http: &Block,
        blocks: &[NonNull<ngx_http_upstream_srv_conf_t>],
    ) -> Result<Option<Place>, Remark> {
        let mut first = None;
        for block in blocks {
            // SAFETY: nginx's configuration of an upstream, which nobody changes now.
            let uscf = unsafe { block.as_ref() };
            let Some(srv_conf) = blocks::srv_conf(uscf) else { continue };
            // SAFETY: made for this block, which nobody changes now.
            let srv_conf = unsafe { srv_conf.as_ref() };
            let settings = in_effect(&srv_conf.said, http);
            let Some(place) = &settings.watched else { continue };
            first.get_or_insert_with(|| place.clone());
            let block = blocks::read(uscf);
            let is_fixed = block.servers.iter().all(|server| !server.addresses.is_empty());
            let watched = judge(&settings, &block, &mut |warning| log::warn_at(cf, &warning))?;
            // Where the configuration names the pools no header does.
            let pool_header = Some(settings.pool_header.as_str()).filter(|_| watched.pools.is_empty());
            let (known, headers) = (Known::new(&watched), Headers::new(pool_header, &settings.release_header));
            let (index, glance) = (self.upstreams.len() as u16, Cell::new(None));
            self.upstreams.push(Upstream { index, watched, known, headers, glance, is_fixed, uscf });
        }
        for upstream in &self.upstreams {
            // SAFETY: nginx's configuration of an upstream, which nobody changes now.
            let srv_conf = blocks::srv_conf(unsafe { &*upstream.uscf });
            if let Some(mut srv_conf) = srv_conf {
                // SAFETY: made for this block, and used by nobody else now.
                unsafe { srv_conf.as_mut() }.watched = Some(NonNull::from(upstream));
            }
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

    /// Opens the state file, in the process that starts nginx: its workers may not. A file that cannot be written is a warning,
    /// a path that cannot be right an error.
    fn open_file(&mut self, cf: &ngx_conf_t) -> Result<(), Remark> {
        let line = self.said.zone.as_ref();
        let Some((line, path)) = line.and_then(|line| Some((line, line.value.state.as_ref()?))) else { return Ok(()) };
        if cycle::is_signaller() {
            return Ok(());
        }
        let path = blocks::prefix(cf).join(OsStr::from_bytes(path));
        match StateFile::open(&path, !cycle::is_test()) {
            Ok(file) => self.zone.file = file.map(Arc::new),
            Err(unfit) if unfit.may_pass => log::warn_at(cf, &line.place.remark(unfit.text)),
            Err(unfit) => return Err(line.place.remark(unfit.text)),
        }
        Ok(())
    }

    fn ask_for_zone(&mut self, cf: &mut ngx_conf_t) -> Result<(), ()> {
        let (name, size) = match &self.said.zone {
            Some(zone) => (zone.value.name.as_str(), zone.value.size.map(|size| (size, &zone.place))),
            None => (DEFAULT_NAME, None),
        };
        let watched = self.upstreams.len();
        let size = if let Some((size, place)) = size {
            self.judge_size(cf, name, size, place)?;
            size
        } else {
            // Upstreams that this configuration no longer names need their places until it has been told.
            let names: Vec<Name> = self.upstreams.iter().map(|upstream| upstream.watched.name).collect();
            let owing = carry_over::owing(&names, self.zone.file.as_deref());
            zone::needed_size((watched + owing).next_multiple_of(STEP))
        };
        // SAFETY: the configuration's pool, which lives as long as the zone's name is used.
        let mut name = unsafe { ngx_str_t::from_bytes(cf.pool, name.as_bytes()) }.ok_or(())?;
        let tag = (&raw mut super::ngx_http_poolwatch_module).cast();
        // SAFETY: called while the configuration is read; nginx copies the string and reports its own errors.
        let shm_zone = unsafe { ngx_shared_memory_add(cf, &raw mut name, size, tag) };
        // SAFETY: null, or a zone that nginx has just handed out.
        let shm_zone = unsafe { shm_zone.as_mut() }.ok_or(())?;
        shm_zone.init = Some(zone_init);
        shm_zone.data = (&raw mut *self).cast();
        Ok(())
    }

    /// A size that was asked for: upstreams that no longer fit are an error, and that the next ones will not is a warning.
    fn judge_size(&self, cf: &ngx_conf_t, name: &str, size: usize, place: &Place) -> Result<(), ()> {
        let watched = self.upstreams.len();
        let needed = zone::needed_size(watched);
        if size < needed {
            let needed = needed.div_ceil(1024);
            let text = format!("zone \"{name}\" is too small, the watched upstreams need {needed}k");
            log::emerg_at(cf, &place.remark(text));
            return Err(());
        }
        let room = zone::room(size);
        if watched * 4 > room * 3 {
            let text = format!(
                "zone \"{name}\" is nearly full, {watched} upstreams are watched and it has room for {room}; without a size it \
                 takes what it needs"
            );
            log::warn_at(cf, &place.remark(text));
        }
        Ok(())
    }
}

impl Upstream {
    /// The one that a request went to, if it is watched. It lives as long as the request's configuration.
    #[expect(clippy::inline_always, reason = "once for each request")]
    #[inline(always)]
    pub(crate) fn of<'a>(uscf: *const ngx_http_upstream_srv_conf_t) -> Option<&'a Self> {
        // SAFETY: null, or a configuration that lives as long as its cycle.
        let srv_conf = blocks::srv_conf(unsafe { uscf.as_ref() }?)?;
        // SAFETY: made for this block; only read once the configuration is finished.
        let watched = unsafe { srv_conf.as_ref() }.watched?;
        // SAFETY: it stays where it is for as long as the configuration lives, and is only read.
        Some(unsafe { watched.as_ref() })
    }

    fn answers_to(&self, name: &[u8]) -> bool {
        self.watched.name.as_bytes() == name || self.watched.peer_index(name).is_some()
    }
}
