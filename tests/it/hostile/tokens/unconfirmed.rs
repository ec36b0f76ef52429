//! What an administrator reads with a token of a user whom the account added by email address does not reveal whether the user already
//! existed.

use parley_proto::{GetProfileRequest, GetUserRequest, User};
use prost_types::Timestamp;

use super::{add_agent, of_user, secret, stranger};
use crate::support::{app::TestApp, database::Backend, on_both};

on_both!(member_added_by_address_is_as_old_as_its_membership);

async fn member_added_by_address_is_as_old_as_its_membership(backend: Backend) {
    for switch in ["", "member_view"] {
        let app = TestApp::builder(backend)
            .platform()
            .env("PARLEY_FAULT_SWITCH", switch)
            .start()
            .await;
        let known = stranger(&app, "known@example.org").await;
        let before = micros(stranger(&app, "before@example.org").await.created_at);
        let added = add_agent(&app, "known@example.org", "Typed Name").await;
        let after = micros(stranger(&app, "after@example.org").await.created_at);
        let mut token = app.clients_with(&secret(&app.clients(), of_user(added.id)).await).accounts;
        let profile = token.get_profile(GetProfileRequest {}).await.expect("a profile").into_inner();
        let read = token
            .get_user(GetUserRequest { user_id: added.id })
            .await
            .expect("its own user")
            .into_inner();
        for user in [profile.user, read.user] {
            let user: User = user.expect("always set");
            for time in [user.created_at, user.updated_at] {
                let is_the_memberships = (before..=after).contains(&micros(time));
                assert_eq!(is_the_memberships, switch.is_empty(), "{switch}: {user:?} of {known:?}");
            }
        }
    }
}

fn micros(time: Option<Timestamp>) -> i64 {
    let time = time.expect("always set");
    time.seconds * 1_000_000 + i64::from(time.nanos / 1000)
}
