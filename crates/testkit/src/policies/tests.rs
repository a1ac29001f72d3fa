//! The comparison itself can tell right from wrong.

use super::cyclonus::world;

/// What cyclonus would print for answers.
fn printed(answers: &[bool]) -> String {
    answers.iter().map(|yes| format!("| IS ALLOWED? | {} |\n", if *yes { "TRUE" } else { "FALSE" })).collect()
}

#[test]
fn a_world_is_the_same_for_the_same_seed_and_has_both_answers() {
    let (one, other) = (world(7), world(7));
    assert_eq!((one.policy_file(), one.traffic_file()), (other.policy_file(), other.traffic_file()));
    assert_ne!(world(8).policy_file(), one.policy_file());
    let mut allowed = 0;
    let mut denied = 0;
    for seed in 0..50 {
        let all = world(seed).compare(&printed(&[true; 24])).unwrap();
        allowed += all.agree;
        denied += all.differences.len();
    }
    assert!(allowed > 200 && denied > 200, "{allowed} {denied}");
}

#[test]
fn an_answer_that_is_missing_or_turned_round_is_told() {
    let world = world(3);
    assert!(world.compare(&printed(&[true; 23])).is_err());
    let yes = world.compare(&printed(&[true; 24])).unwrap();
    let no = world.compare(&printed(&[false; 24])).unwrap();
    assert_eq!(yes.agree + no.agree, 24);
    // A flow turned round is decided by no sentence, unless one of the known readings gives it.
    let wrong = |compared: super::cyclonus::Compared| {
        compared.differences.iter().filter(|difference| difference.decided.is_none()).count() as u64
    };
    assert!(wrong(yes) + wrong(no) > 12);
}
