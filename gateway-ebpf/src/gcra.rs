//! A token bucket in one number (the generic cell rate algorithm): the moment up to which what was
//! taken is paid for.

/// Takes one, at `now`, from a bucket that is paid for up to `due`. One costs `cost`, and no more
/// than `burst` may be owed. Answers what `due` is then; none if there is none left to take.
#[inline(always)]
pub fn take(due: u64, now: u64, cost: u64, burst: u64) -> Option<u64> {
    let due = if due > now { due } else { now }.wrapping_add(cost);
    if due.wrapping_sub(now) > burst { None } else { Some(due) }
}

#[cfg(test)]
mod tests {
    use super::take;

    const SECOND: u64 = 1_000_000_000;

    /// How many of `asked` are given at a moment.
    fn given(due: &mut u64, now: u64, asked: u32, cost: u64, burst: u64) -> u32 {
        let mut given = 0;
        for _ in 0..asked {
            if let Some(next) = take(*due, now, cost, burst) {
                *due = next;
                given += 1;
            }
        }
        given
    }

    #[test]
    fn a_burst_is_given_at_once_and_then_the_rate() {
        let (cost, burst) = (SECOND / 10, SECOND / 10 * 5);
        let mut due = 0;
        let start = 1_000 * SECOND;
        assert_eq!(given(&mut due, start, 100, cost, burst), 5, "the burst");
        assert_eq!(given(&mut due, start + SECOND / 10, 100, cost, burst), 1);
        assert_eq!(given(&mut due, start + SECOND / 2, 100, cost, burst), 4);
        assert_eq!(given(&mut due, start + 100 * SECOND, 100, cost, burst), 5, "never more");
    }

    #[test]
    fn who_asks_too_often_is_not_punished_beyond_the_rate() {
        let (cost, burst) = (SECOND / 10, SECOND / 10 * 5);
        let mut due = 0;
        let mut sum = 0;
        for tenth in 0..100 {
            sum += given(&mut due, SECOND + tenth * SECOND / 10, 50, cost, burst);
        }
        assert_eq!(sum, 5 + 99);
    }

    #[test]
    fn a_larger_budget_goes_on_where_the_smaller_ends() {
        let (cost, burst) = (SECOND / 10, SECOND / 10 * 5);
        let mut due = 0;
        given(&mut due, SECOND, 100, cost, burst);
        let (cost, more) = (SECOND / 100, burst + SECOND / 100 * 50);
        assert_eq!(given(&mut due, SECOND, 100, cost, more), 50);
        assert_eq!(given(&mut due, 2 * SECOND, 500, cost, more), 100);
    }
}
