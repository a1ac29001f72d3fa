//! Packet captures. Enters: blocks of pcap and pcapng; leaves: observations.
