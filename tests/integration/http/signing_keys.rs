//! Keys that sign follow each other without anybody noticing, and only who has the secret can make one.

use api::master_secret::MasterSecret;
use api::signing_keys::{derived, kid, provide, retire, rotate};
use api::tokens::{KeySet, Signer, Tokens};
use convolog::node::Node;
use futures_util::future::{join_all, try_join_all};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, crypto::sign, decode_header};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor as _;
use std::time::Duration;
use store::{ApiDatabase, ConnectionSettings, KeyState, StoredKey, change_signing_keys, signing_keys};
use tests::{PASSWORD, User, World, WorldSettings, eventually};
use uuid::Uuid;

use super::{anonymous, assert_problem, grant, issuer, keys, now, raw};

/// Nodes that soon know what has become of the keys.
fn quick(apis: usize) -> WorldSettings {
    WorldSettings { apis, key_reload: Duration::from_millis(100), ..WorldSettings::default() }
}

fn administrator(world: &World) -> ConnectionSettings {
    ConnectionSettings::from_url("DATABASE_URL", &world.database.admin_url, 1).unwrap()
}

fn secret(world: &World) -> MasterSecret {
    world.node_settings(&WorldSettings::default(), false).api.unwrap().master_secret
}

async fn stored(world: &World) -> Vec<StoredKey> {
    signing_keys(&administrator(world)).await.unwrap()
}

/// `convolog keys rotate --now`: the key that signs from then on.
async fn rotated(world: &World, secret: &MasterSecret) -> String {
    let changed = change_signing_keys(&administrator(world), |keys| rotate(secret, keys, true)).await;
    changed.unwrap().unwrap().signing
}

/// `convolog keys retire`.
async fn retired(world: &World, kid: &str) {
    change_signing_keys(&administrator(world), |keys| retire(keys, kid)).await.unwrap().unwrap();
}

async fn published(world: &World, node: usize) -> Vec<Jwk> {
    let reply = anonymous(world).at(world.url(node)).get("/.well-known/jwks.json").await;
    assert_eq!(reply.status, 200);
    serde_json::from_value::<JwkSet>(reply.body).unwrap().keys
}

async fn publishes(world: &World, node: usize, kid: &str) -> bool {
    published(world, node).await.iter().any(|key| key.common.key_id.as_deref() == Some(kid))
}

fn kid_of(user: &User) -> String {
    decode_header(user.token.as_ref().unwrap()).unwrap().kid.unwrap()
}

async fn signed_in_again(user: &User) -> User {
    let email = user.get("/v1/auth/me").await.body["user"]["email"].clone();
    let body = json!({"email": email, "password": PASSWORD});
    let reply = user.insist(|| user.request(Method::POST, "/v1/auth/login").json(&body)).await;
    user.signed_in(&reply.body)
}

/// Whether the node opens to the user's token, and if not that it says so as it should.
async fn opens(world: &World, node: usize, user: &User) -> bool {
    let reply = user.at(world.url(node)).get("/v1/auth/me").await;
    if reply.status != 200 {
        assert_problem(&reply, 401, "unauthorized");
    }
    reply.status == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_followed_by_every_node_and_tokens_of_the_former_key_are_good_until_it_is_retired() {
    let world = World::with(quick(2)).await;
    let ada = world.tenant().await;
    let former = kid_of(&ada);
    let next = stored(&world).await.iter().find(|key| key.state == KeyState::Next).map(kid).unwrap().unwrap();
    for node in 0..2 {
        assert!(opens(&world, node, &ada).await && publishes(&world, node, &next).await);
    }

    assert_eq!(rotated(&world, &secret(&world)).await, next);
    let after = stored(&world).await.iter().find(|key| key.state == KeyState::Next).map(kid).unwrap().unwrap();
    for node in 0..2 {
        eventually("the node has read the keys", async || publishes(&world, node, &after).await).await;
        let again = signed_in_again(&ada.at(world.url(node))).await;
        assert_eq!(kid_of(&again), next);
        for node in 0..2 {
            assert!(opens(&world, node, &again).await && opens(&world, node, &ada).await);
        }
    }

    retired(&world, &former).await;
    for node in 0..2 {
        eventually("what was believed before is refused", async || !opens(&world, node, &ada).await).await;
        assert!(!publishes(&world, node, &former).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_else_has_written_opens_nothing() {
    let mut world = World::with(quick(1)).await;
    let ada = world.tenant().await;
    let evil = || Signer::from_seed([9; 32]).unwrap();
    // The most that somebody can write who has taken over the API's log-in.
    let mut stranger = world.database.login("convolog_api").await;
    let insert = sqlx::query("insert into signing_keys (id, state, public_key) values ($1, 'former', $2)")
        .bind(Uuid::now_v7())
        .bind(evil().public_key().bytes().unwrap().to_vec());
    insert.execute(&mut stranger).await.unwrap();
    // And the administrator: under the id of a key that is ours.
    let own = stored(&world).await.into_iter().find(|key| key.state == KeyState::Next).unwrap();
    let other = Signer::from_seed([8; 32]).unwrap();
    let update = sqlx::query("update signing_keys set public_key = $1 where id = $2")
        .bind(other.public_key().bytes().unwrap().to_vec())
        .bind(own.id);
    update.execute(&world.database.admin).await.unwrap();
    // A node that reads it while it runs, and one that starts with it.
    eventually("the node has read the rows", async || !publishes(&world, 0, &kid(&own).unwrap()).await).await;
    world.nodes.push(Node::start(world.node_settings(&quick(1), false)).await.unwrap());
    for (node, signer) in [(0, evil()), (1, evil()), (0, other), (1, Signer::from_seed([8; 32]).unwrap())] {
        assert_eq!(published(&world, node).await.len(), 1);
        let mut eve = ada.clone();
        let public_url = world.node_settings(&quick(1), false).api.unwrap().public_url.unwrap();
        let tokens = Tokens::new(&public_url, KeySet::new(signer, []));
        eve.token = Some(tokens.issue(grant(&ada), Uuid::now_v7(), now()).unwrap());
        assert!(opens(&world, node, &ada).await && !opens(&world, node, &eve).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_on_an_empty_table_agree() {
    let mut world = World::with(quick(0)).await;
    let admin = &world.database.admin;
    // However long it takes until all of them wait for each other.
    let patient = "do $$ begin
      execute format('alter role convolog_api in database %I set lock_timeout = 60000', current_database());
      execute format('alter role convolog_api in database %I set transaction_timeout = 60000', current_database());
    end $$";
    admin.execute(patient).await.unwrap();
    let connect = || ApiDatabase::connect(world.database.databases.api.clone());
    let databases = try_join_all((0..6).map(|_| connect())).await.unwrap();
    let secret = secret(&world);
    // All see that there are none before one of them can make any.
    let mut lock = admin.begin().await.unwrap();
    lock.execute("lock table signing_keys in exclusive mode").await.unwrap();
    let release = async {
        let waiting = "select count(*) from pg_locks where relation = 'signing_keys'::regclass and not granted";
        eventually("all want to make keys", async || {
            sqlx::query_scalar::<_, i64>(waiting).fetch_one(admin).await.unwrap() == 6
        })
        .await;
        lock.rollback().await.unwrap();
    };
    let (keys, ()) = tokio::join!(join_all(databases.iter().map(|database| provide(database, &secret))), release);
    let kids: Vec<_> = keys.into_iter().map(|keys| keys.unwrap().signer().public_key().kid().to_owned()).collect();
    assert!(kids.iter().all(|kid| *kid == kids[0]), "{kids:?}");
    let states: Vec<_> = stored(&world).await.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Signing, KeyState::Next]);

    for n in 0..2 {
        let node = Node::start(world.node_settings(&quick(1), n == 0)).await.unwrap();
        world.nodes.push(node);
    }
    let ada = world.tenant().await;
    assert!(kid_of(&ada) == kids[0] && opens(&world, 1, &ada).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_secret_does_not_start_until_keys_are_made_of_it() {
    let mut world = World::with(quick(1)).await;
    let ada = world.tenant().await;
    let another = MasterSecret::new([9; 32]);
    let settings = || {
        let mut settings = world.node_settings(&quick(1), false);
        settings.api.as_mut().unwrap().master_secret = another.clone();
        settings
    };
    let Err(error) = Node::start(settings()).await else { panic!("it has started") };
    let text = format!("{error:#}");
    for said in ["CONVOLOG_SIGNING_KEY", "convolog keys rotate", &kid_of(&ada)] {
        assert!(text.contains(said), "{text}");
    }

    let signs = rotated(&world, &another).await;
    let states: Vec<_> =
        stored(&world).await.iter().map(|key| (key.state, derived(&another, key).unwrap().is_some())).collect();
    let (ours, theirs) = (true, false);
    let expected =
        [(KeyState::Signing, ours), (KeyState::Next, ours), (KeyState::Former, theirs), (KeyState::Former, theirs)];
    assert_eq!(states, expected);
    let node = Node::start(settings()).await.unwrap();
    world.nodes.push(node);
    let there = signed_in_again(&ada).await.at(world.url(1));
    assert_eq!(kid_of(&there), kid_of(&ada), "the node that runs has only its own");
    assert!(opens(&world, 0, &there).await && !opens(&world, 1, &there).await);
    let body = json!({"email": ada.get("/v1/auth/me").await.body["user"]["email"], "password": PASSWORD});
    let new = there.signed_in(&there.post("/v1/auth/login", &body).await.body);
    assert_eq!(kid_of(&new), signs);
    assert!(opens(&world, 1, &new).await && !opens(&world, 0, &new).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotations_at_the_same_time_come_one_after_the_other() {
    let world = World::with(quick(1)).await;
    let secret = secret(&world);
    let signed = join_all((0..4).map(|_| rotated(&world, &secret))).await;
    let count = async |state| stored(&world).await.iter().filter(|key| key.state == state).count();
    assert_eq!((count(KeyState::Signing).await, count(KeyState::Next).await, count(KeyState::Former).await), (1, 1, 4));
    let now = stored(&world).await.iter().find(|key| key.state == KeyState::Signing).map(kid).unwrap().unwrap();
    assert!(signed.contains(&now));
    let refused = change_signing_keys(&administrator(&world), |keys| rotate(&secret, keys, false)).await.unwrap();
    assert!(refused.unwrap_err().to_string().contains("wait"));
    assert_eq!(stored(&world).await.len(), 6, "what is refused changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_verifies_tokens_with_the_published_keys() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let answer = raw(anonymous(&world).request(Method::GET, "/.well-known/jwks.json")).await;
    assert_eq!(answer.header("cache-control"), "public, max-age=30");
    assert_eq!(answer.header("content-type"), "application/json");
    let body: Value = serde_json::from_str(&answer.text).unwrap();
    let published = body["keys"].as_array().unwrap();
    assert!(published.len() >= 2, "{body}");
    for key in published {
        let names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"], "public halves alone");
    }
    let set: JwkSet = serde_json::from_value(body).unwrap();
    let token = ada.token.as_ref().unwrap();
    let key = DecodingKey::from_jwk(set.find(&kid_of(&ada)).unwrap()).unwrap();
    let mut rules = Validation::new(Algorithm::EdDSA);
    rules.set_audience(&["http://convolog.test"]);
    rules.set_issuer(&["http://convolog.test"]);
    let claims = jsonwebtoken::decode::<Value>(token, &key, &rules).unwrap().claims;
    assert_eq!(claims["tid"], json!(ada.tenant));
    let other = set.keys.iter().find(|key| key.common.key_id != Some(kid_of(&ada))).unwrap();
    assert!(jsonwebtoken::decode::<Value>(token, &DecodingKey::from_jwk(other).unwrap(), &rules).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_the_database_has_of_the_keys_signs() {
    let world = World::start().await;
    let ada = world.tenant().await;
    let tokens = issuer(&world, None, None).await;
    let token = ada.token.as_ref().unwrap();
    assert!(tokens.verify(token, now()).is_ok());
    let (message, _) = token.rsplit_once('.').unwrap();
    let rows: Vec<Vec<u8>> = sqlx::query_scalar(
        "select uuid_send(id) || uuid_send(id) || public_key || uuid_send(id) || timestamptz_send(created_at)
                || timestamptz_send(changed_at) || convert_to(state, 'UTF8') || sha256(uuid_send(id)) || sha256(public_key)
         from signing_keys",
    )
    .fetch_all(&world.database.admin)
    .await
    .unwrap();
    assert_eq!(rows.len(), 2);
    for seed in rows.iter().flat_map(|row| row.windows(32)) {
        let signer = Signer::from_seed(seed.try_into().unwrap()).unwrap();
        let signature = sign(message.as_bytes(), signer.key(), Algorithm::EdDSA).unwrap();
        assert!(tokens.verify(&format!("{message}.{signature}"), now()).is_err());
    }
    // The same with the key itself: the test would notice.
    let own = keys(&world).await;
    let signature = sign(message.as_bytes(), own.signer().key(), Algorithm::EdDSA).unwrap();
    assert!(tokens.verify(&format!("{message}.{signature}"), now()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_read_the_keys_goes_on_with_those_it_has() {
    let world = World::with(quick(1)).await;
    let ada = world.tenant().await;
    world.database.admin.execute("revoke select on signing_keys from convolog_api").await.unwrap();
    eventually("a reading has failed", async || {
        world.database.logged_errors().await.iter().any(|line| line.contains("signing_keys"))
    })
    .await;
    assert!(opens(&world, 0, &ada).await && publishes(&world, 0, &kid_of(&ada)).await);
    assert_eq!(kid_of(&signed_in_again(&ada).await), kid_of(&ada));
    world.database.admin.execute("grant select on signing_keys to convolog_api").await.unwrap();
    rotated(&world, &secret(&world)).await;
    eventually("it reads again", async || published(&world, 0).await.len() == 3).await;
}
