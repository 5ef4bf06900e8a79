//! What operators see of a copy of the state: the API's JSON, the metrics, the page and nginx's variables; and the
//! requests that they may send.
//!
//! All of it is pure: a copy or a request in, text or a decision out. nginx's side is in [`crate`]'s module `nginx`.
//!
//! A request goes through `route`, `cache`, `view`, and one of `json`, `prometheus` and `html`.

pub mod command;
pub mod route;
pub mod view;
pub mod json;
pub mod prometheus;
pub mod html;
pub mod cache;
pub mod variables;
