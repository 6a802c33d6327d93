//! Who may do what to whom, and that there is always an owner.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const ADA: UserId = UserId(Uuid::from_u128(1));
const BOB: UserId = UserId(Uuid::from_u128(2));
const EVE: UserId = UserId(Uuid::from_u128(3));

fn new(user_id: UserId) -> NewUser {
    let email = Email::parse(&format!("user{}@example.com", user_id.0.as_u128())).unwrap();
    NewUser { user_id, email, name: "Somebody".into() }
}

fn register() -> Command {
    Command::Register { name: "Analytical Engines".into(), owner: new(ADA) }
}

fn add(by: UserId, user: UserId, role: Role) -> Command {
    Command::AddUser { by, user: new(user), role, has_password: true }
}

fn set_role(by: UserId, user: UserId, role: Role) -> Command {
    let change = UserChange { role: Some(role), ..UserChange::default() };
    Command::ChangeUser { by, user, seen: None, change }
}

fn rename(by: UserId, user: UserId) -> Command {
    let change = UserChange { name: Some("Another".into()), ..UserChange::default() };
    Command::ChangeUser { by, user, seen: None, change }
}

fn remove(by: UserId, user: UserId) -> Command {
    Command::RemoveUser { by, user, seen: None }
}

/// A tenant whose version goes on.
struct Story(State, u64);

impl Story {
    fn told(commands: impl IntoIterator<Item = Command>) -> Self {
        let mut story = Self(State::default(), 0);
        for command in commands {
            story.then(command).unwrap();
        }
        story
    }

    fn then(&mut self, command: Command) -> Result<(), Rejection> {
        for event in Tenant::decide(&self.0, command)? {
            self.1 += 1;
            Tenant::evolve(&mut self.0, self.1, &event);
        }
        Ok(())
    }

    fn role(&self, user: UserId) -> Option<Role> {
        self.0.members.get(&user).map(|member| member.role)
    }
}

#[test]
fn the_first_user_of_a_tenant_is_its_owner_and_it_is_registered_once() {
    let mut story = Story::told([register()]);
    assert_eq!(story.role(ADA), Some(Role::Owner));
    assert_eq!(story.then(register()), Err(Rejection::AlreadyRegistered));
}

#[test]
fn nobody_grants_their_own_level_or_a_higher_one_except_owners() {
    for (granter, role, allowed) in [
        (Role::Owner, Role::Owner, true),
        (Role::Owner, Role::Admin, true),
        (Role::Admin, Role::Admin, false),
        (Role::Admin, Role::Owner, false),
        (Role::Admin, Role::Member, true),
        (Role::Member, Role::Member, false),
        (Role::Member, Role::Owner, false),
    ] {
        let mut story = Story::told([register(), add(ADA, BOB, granter)]);
        let expected = if allowed { Ok(()) } else { Err(Rejection::Forbidden) };
        assert_eq!(story.then(add(BOB, EVE, role)), expected, "{granter:?} adds {role:?}");
        let mut story = Story::told([register(), add(ADA, BOB, granter), add(ADA, EVE, Role::Member)]);
        let expected = if allowed && granter > Role::Member { Ok(()) } else { Err(Rejection::Forbidden) };
        assert_eq!(story.then(set_role(BOB, EVE, role)), expected, "{granter:?} makes {role:?}");
    }
}

#[test]
fn one_looks_after_oneself_and_after_those_below() {
    for (asking, other, allowed) in [
        (Role::Owner, Role::Owner, true),
        (Role::Admin, Role::Member, true),
        (Role::Admin, Role::Admin, false),
        (Role::Admin, Role::Owner, false),
        (Role::Member, Role::Member, false),
    ] {
        let expected = if allowed { Ok(()) } else { Err(Rejection::Forbidden) };
        let people = || Story::told([register(), add(ADA, BOB, asking), add(ADA, EVE, other)]);
        assert_eq!(people().then(rename(BOB, EVE)), expected, "{asking:?} {other:?}");
        assert_eq!(people().then(remove(BOB, EVE)), expected, "{asking:?} {other:?}");
        assert_eq!(people().then(rename(BOB, BOB)), Ok(()));
        assert_eq!(people().then(remove(BOB, BOB)), Ok(()));
    }
    let mut story = Story::told([register(), add(ADA, BOB, Role::Admin)]);
    assert_eq!(story.then(set_role(BOB, BOB, Role::Owner)), Err(Rejection::Forbidden));
    assert_eq!(story.then(set_role(BOB, BOB, Role::Member)), Ok(()));
    assert_eq!(story.then(set_role(BOB, BOB, Role::Admin)), Err(Rejection::Forbidden));
}

#[test]
fn the_last_owner_neither_leaves_nor_steps_down() {
    let mut story = Story::told([register(), add(ADA, BOB, Role::Admin)]);
    assert_eq!(story.then(set_role(ADA, ADA, Role::Admin)), Err(Rejection::LastOwner));
    assert_eq!(story.then(remove(ADA, ADA)), Err(Rejection::LastOwner));
    assert_eq!(story.then(set_role(ADA, BOB, Role::Owner)), Ok(()));
    assert_eq!(story.then(remove(ADA, ADA)), Ok(()));
    assert_eq!(story.then(remove(BOB, BOB)), Err(Rejection::LastOwner));
}

#[test]
fn an_address_and_an_id_belong_to_one_member_and_are_free_when_they_leave() {
    let mut story = Story::told([register(), add(ADA, BOB, Role::Member)]);
    assert_eq!(story.then(add(ADA, BOB, Role::Member)), Err(Rejection::IdTaken));
    let same_address = NewUser { user_id: EVE, ..new(BOB) };
    let add_same = || Command::AddUser { by: ADA, user: same_address.clone(), role: Role::Member, has_password: false };
    assert_eq!(story.then(add_same()), Err(Rejection::EmailTaken));
    assert_eq!(story.then(remove(ADA, BOB)), Ok(()));
    assert_eq!(story.then(add_same()), Ok(()));
}

#[test]
fn who_is_gone_decides_nothing() {
    let mut story = Story::told([register(), add(ADA, BOB, Role::Owner), remove(ADA, BOB)]);
    for command in [add(BOB, EVE, Role::Member), rename(BOB, ADA), remove(BOB, ADA)] {
        assert_eq!(story.then(command), Err(Rejection::NotAMember));
    }
    assert_eq!(story.then(rename(ADA, BOB)), Err(Rejection::UnknownUser));
}

#[test]
fn what_has_changed_since_it_was_seen_is_not_changed() {
    let mut story = Story::told([register(), add(ADA, BOB, Role::Member), rename(BOB, BOB)]);
    let change = |seen| Command::ChangeUser {
        by: ADA,
        user: BOB,
        seen: Some(seen),
        change: UserChange { name: Some("Bob".into()), ..UserChange::default() },
    };
    assert_eq!(story.then(change(3)), Err(Rejection::VersionMismatch { current: 4 }));
    assert_eq!(story.then(change(4)), Ok(()));
    let gone = Command::RemoveUser { by: ADA, user: BOB, seen: Some(4) };
    assert_eq!(story.then(gone), Err(Rejection::VersionMismatch { current: 5 }));
    // Members come and go without the tenant itself being changed.
    assert_eq!(story.0.version, 1);
    let rename = |seen| Command::Change {
        by: ADA,
        seen: Some(seen),
        change: Change { name: Some("Engines".into()), ..Change::default() },
    };
    assert_eq!(story.then(rename(2)), Err(Rejection::VersionMismatch { current: 1 }));
    assert_eq!(story.then(rename(1)), Ok(()));
}

#[test]
fn plan_and_billing_are_for_owners_and_the_rest_for_admins() {
    let billing = |by| Command::Change {
        by,
        seen: None,
        change: Change { stripe_customer_id: Some(Some("cus_1".into())), ..Change::default() },
    };
    let plan =
        |by| Command::Change { by, seen: None, change: Change { plan: Some(Plan::Growth), ..Change::default() } };
    let settings = |by| Command::Change {
        by,
        seen: None,
        change: Change { settings: Some(Settings::default()), ..Change::default() },
    };
    let mut story = Story::told([register(), add(ADA, BOB, Role::Admin), add(ADA, EVE, Role::Member)]);
    for command in [billing(BOB), plan(BOB), settings(EVE)] {
        assert_eq!(story.then(command), Err(Rejection::Forbidden));
    }
    for command in [billing(ADA), plan(ADA), settings(BOB)] {
        assert_eq!(story.then(command), Ok(()));
    }
    let subscription = Change { stripe_subscription_id: Some(Some("sub_1".into())), ..Change::default() };
    story.then(Command::Change { by: ADA, seen: None, change: subscription }).unwrap();
    let both = Billing { stripe_customer_id: Some("cus_1".into()), stripe_subscription_id: Some("sub_1".into()) };
    assert_eq!(story.0.billing, both);
}

#[test]
fn a_tenant_has_room_for_so_many() {
    let mut story = Story::told([register()]);
    for number in 2..=MAX_MEMBERS {
        story.then(add(ADA, UserId(Uuid::from_u128(number as u128)), Role::Member)).unwrap();
    }
    let further = UserId(Uuid::from_u128(MAX_MEMBERS as u128 + 1));
    assert_eq!(story.then(add(ADA, further, Role::Member)), Err(Rejection::TooManyMembers));
}

#[test]
fn the_snapshot_of_a_state_keeps_the_shape_it_is_named_after() {
    let story = Story::told([register()]);
    let text = serde_json::to_string(&story.0).unwrap();
    assert_eq!(
        (Tenant::STATE_SHAPE, text.as_str()),
        (
            "tenant.3",
            r#"{"version":1,"billing":{},"members":{"00000000-0000-0000-0000-000000000001":{"role":"owner","email":"user1@example.com","name":"Somebody","version":2}}}"#
        )
    );
    assert_eq!(serde_json::from_str::<State>(&text).unwrap(), story.0);
}

fn any_command() -> impl Strategy<Value = Command> {
    let user = || (1..5_u128).prop_map(|id| UserId(Uuid::from_u128(id)));
    let role = || prop_oneof![Just(Role::Member), Just(Role::Admin), Just(Role::Owner)];
    prop_oneof![
        (user(), user(), role()).prop_map(|(by, whom, role)| add(by, whom, role)),
        (user(), user(), role()).prop_map(|(by, whom, role)| set_role(by, whom, role)),
        (user(), user()).prop_map(|(by, whom)| remove(by, whom)),
    ]
}

proptest! {
    /// Whatever anybody tries: an owner is left, and who is not an owner has made nobody as high as themselves.
    #[test]
    fn there_is_always_an_owner_and_nobody_climbs(commands in prop::collection::vec(any_command(), 1..60)) {
        let mut story = Story::told([register()]);
        for command in commands {
            let by = match &command {
                Command::AddUser { by, .. } | Command::ChangeUser { by, .. } | Command::RemoveUser { by, .. } => *by,
                Command::Register { .. } | Command::Change { .. } => ADA,
            };
            let (before, asking) = (story.0.members.clone(), story.role(by));
            if story.then(command).is_err() {
                prop_assert_eq!(&before, &story.0.members);
                continue;
            }
            prop_assert!(story.0.members.values().any(|member| member.role == Role::Owner));
            let asking = asking.unwrap();
            for (user, member) in &story.0.members {
                let was = before.get(user).map(|member| member.role);
                if was != Some(member.role) {
                    prop_assert!(asking == Role::Owner || member.role < asking);
                }
            }
        }
    }
}
