//! Something that nginx's event loop does later, once. It keeps no worker from ending.

use std::ptr;

use nginx_sys::{
    ngx_connection_t, ngx_current_msec, ngx_event_handler_pt, ngx_event_t, ngx_event_timer_rbtree, ngx_log_t,
    ngx_msec_t, ngx_rbtree_insert,
};

use crate::nginx::bits;
use crate::units::Millis;

/// Has nginx call the handler after `span`. The event lives as long as the process, so there should be few.
pub(crate) fn after(span: Millis, log: *mut ngx_log_t, handler: ngx_event_handler_pt) {
    // SAFETY: all zero is an unused connection.
    let mut connection: ngx_connection_t = unsafe { std::mem::zeroed() };
    // nginx's debug log names an event by its connection's descriptor.
    connection.fd = -1;
    // SAFETY: all zero is an unused event.
    let mut event: ngx_event_t = unsafe { std::mem::zeroed() };
    event.data = ptr::from_mut(Box::leak(Box::new(connection))).cast();
    (event.handler, event.log) = (handler, log);
    bits::set_cancelable(&mut event);
    again(span, Box::leak(Box::new(event)));
}

/// The same with the event of a handler that was called.
pub(crate) fn again(span: Millis, event: &'static mut ngx_event_t) {
    // SAFETY: nginx's clock, read on its thread.
    let now = unsafe { ngx_current_msec };
    event.timer.key = now.wrapping_add(span.0 as ngx_msec_t);
    let tree = &raw mut ngx_event_timer_rbtree;
    // SAFETY: nginx's tree of timers, which the event module has made, on its thread; the event is in no tree and lives on.
    unsafe { ngx_rbtree_insert(tree, &raw mut event.timer) };
}
