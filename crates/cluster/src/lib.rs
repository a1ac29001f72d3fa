//! History, View, the DNS truth model and the Corefile language. Pure.
