//! What is loaded, and which provider it serves.
