//! The walk over items given as readers: split, append, decode, fold, attribute, judge, detect.
