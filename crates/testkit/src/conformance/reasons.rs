//! The written reasons why we differ from a golden. Enters: suite and case; leaves: the reason, if one is written.

const TABLE: &str = include_str!("reasons.tsv");

/// The reason for `case` of `suite`: lines of `suite <tab> beginning of the case <tab> reason`.
pub(crate) fn reason(suite: &str, case: &str) -> Option<&'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let mut columns = line.splitn(3, '\t');
        let (of, beginning, reason) = (columns.next()?, columns.next()?, columns.next()?);
        (of == suite && case.starts_with(beginning)).then_some(reason)
    })
}
