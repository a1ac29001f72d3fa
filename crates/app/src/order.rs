//! Rows of a timeline in order of time, whatever order they come in, in bounded memory.
//!
//! Enters: rows; leaves: the same, by [`Row::place`], rows of one place as they came. Full runs wait, sorted, in unnamed
//! files and are merged at the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Lines, Seek as _, Write as _};

use truename_report::Row;

/// Rows of a run.
const RUN: usize = 200_000;

/// The rows so far.
pub(crate) struct Order {
    room: usize,
    held: Vec<Row>,
    runs: Vec<Lines<BufReader<File>>>,
}

impl Order {
    pub(crate) fn new() -> Self {
        Self::with_room(RUN)
    }

    fn with_room(room: usize) -> Self {
        Self { room, held: Vec::new(), runs: Vec::new() }
    }

    pub(crate) fn take(&mut self, row: Row) -> io::Result<()> {
        self.held.push(row);
        if self.held.len() < self.room { Ok(()) } else { self.spill() }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.held.sort_by_key(Row::place);
        let mut out = BufWriter::new(tempfile::tempfile()?);
        for row in self.held.drain(..) {
            serde_json::to_writer(&mut out, &row)?;
            out.write_all(b"\n")?;
        }
        let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(BufReader::new(file).lines());
        Ok(())
    }

    /// Gives every row out, in order.
    pub(crate) fn give<E>(
        mut self,
        sink: &mut dyn FnMut(&Row) -> Result<(), E>,
        spool: &dyn Fn(io::Error) -> E,
    ) -> Result<(), E> {
        if self.runs.is_empty() {
            self.held.sort_by_key(Row::place);
            return self.held.iter().try_for_each(sink);
        }
        self.spill().map_err(spool)?;
        let mut heads: Vec<Option<Row>> = Vec::new();
        let mut next = BinaryHeap::new();
        for (run, lines) in self.runs.iter_mut().enumerate() {
            let head = read(lines).map_err(spool)?;
            next.extend(head.as_ref().map(|row| Reverse((row.place(), run))));
            heads.push(head);
        }
        while let Some(Reverse((_, run))) = next.pop() {
            let head = read(&mut self.runs[run]).map_err(spool)?;
            next.extend(head.as_ref().map(|row| Reverse((row.place(), run))));
            if let Some(row) = std::mem::replace(&mut heads[run], head) {
                sink(&row)?;
            }
        }
        Ok(())
    }
}

fn read(lines: &mut Lines<BufReader<File>>) -> io::Result<Option<Row>> {
    lines.next().map(|line| Ok(serde_json::from_str(&line?)?)).transpose()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;
    use truename_model::Nanos;
    use truename_report::RowKind;

    #[test]
    fn any_number_of_runs_gives_the_same_order() {
        let rows: Vec<Row> = (0..100)
            .map(|n: i64| Row {
                not_before: (n % 5 != 0).then_some(Nanos(n)),
                not_after: (n % 7 != 0).then_some(Nanos(n * 37 % 50)),
                basis: String::new(),
                kind: RowKind::Lookup,
                who: String::new(),
                what: n.to_string(),
                judged: String::new(),
                citation: None,
            })
            .collect();
        let ordered = |room| {
            let mut order = Order::with_room(room);
            rows.iter().for_each(|row| order.take(row.clone()).unwrap());
            let mut out = Vec::new();
            let mut sink = |row: &Row| {
                out.push(row.clone());
                Ok(())
            };
            order.give(&mut sink, &|error| error).unwrap();
            out
        };
        let whole = ordered(1_000);
        assert!(whole.is_sorted_by_key(Row::place) && whole.len() == 100);
        assert_eq!(whole.last().unwrap().place(), i64::MAX, "what has no time comes last");
        for room in [1, 3, 33, 100] {
            assert_eq!(ordered(room), whole, "{room}");
        }
    }
}
