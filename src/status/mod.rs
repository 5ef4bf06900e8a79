//! What is shown of the state, and to whom. All of it is pure: nginx's side is in the skin.

pub mod html;
