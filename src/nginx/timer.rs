//! Timers of nginx's event loop. They do not delay the end of a worker.

use std::ptr;

use nginx_sys::{
    ngx_connection_t, ngx_current_msec, ngx_event_handler_pt, ngx_event_t, ngx_event_timer_rbtree, ngx_log_t,
    ngx_msec_t, ngx_rbtree_insert,
};

use crate::nginx::bits;
use crate::units::Millis;

/// Calls the handler once after `span`. Its event is never freed, so this is for rare use.
pub(crate) fn after(span: Millis, log: *mut ngx_log_t, handler: ngx_event_handler_pt) {
    // SAFETY: all zero is an unused connection.
    let mut connection: ngx_connection_t = unsafe { std::mem::zeroed() };
    // nginx's debug log prints the descriptor of an event's connection.
    connection.fd = -1;
    // SAFETY: all zero is an unused event.
    let mut event: ngx_event_t = unsafe { std::mem::zeroed() };
    event.data = ptr::from_mut(Box::leak(Box::new(connection))).cast();
    (event.handler, event.log) = (handler, log);
    bits::set_cancelable(&mut event);
    again(span, Box::leak(Box::new(event)));
}

/// Calls the handler of an event that has fired once more after `span`.
pub(crate) fn again(span: Millis, event: &'static mut ngx_event_t) {
    // SAFETY: nginx's clock, read on its thread.
    let now = unsafe { ngx_current_msec };
    event.timer.key = now.wrapping_add(span.0 as ngx_msec_t);
    let tree = &raw mut ngx_event_timer_rbtree;
    // SAFETY: nginx's initialised timer tree, used on its thread; the event is in no tree and is never freed.
    unsafe { ngx_rbtree_insert(tree, &raw mut event.timer) };
}
