//! The dialects from outside: recorded answers, what vendors' words mean, and both halves against each
//! other.

mod anthropic_messages;
mod common;
mod gemini;
mod openai_chat;
mod openai_responses;
