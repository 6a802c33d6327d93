//! The block-list: long passwords that lead the published lists, and the words that people lengthen into one.

/// Whole passwords of at least twelve characters, in lower case: keyboard walks, lyrics and the like.
const PASSWORDS: &[&str] = &[
    "!qaz2wsx#edc",
    "!qaz@wsx#edc",
    "0987654321qwerty",
    "111222333444",
    "112233445566",
    "1122334455667788",
    "123456654321",
    "123456789abc",
    "123456789qwe",
    "1234567890qwe",
    "1234567890qwerty",
    "123456qwerty",
    "123qweasdzxc",
    "123qwe!@#qwe",
    "147258369147",
    "147852369147",
    "159357258456",
    "1a2b3c4d5e6f",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u",
    "1q2w3e4r5t6y7u8i",
    "1q2w3e4r5t6y7u8i9o0p",
    "1qaz2wsx3edc",
    "1qaz2wsx3edc4rfv",
    "1qaz!qaz2wsx",
    "1qazxsw23edc",
    "1qazxsw23edcvfr4",
    "31415926535897",
    "314159265358",
    "3141592653589793",
    "741852963741",
    "741852963852",
    "789456123789",
    "987654321987",
    "a1b2c3d4e5f6",
    "a1b2c3d4e5f6g7",
    "aaaaaabbbbbb",
    "aabbccddeeff",
    "abc123abc123",
    "abc123def456",
    "abcd1234abcd",
    "abcd1234efgh",
    "abcdef123456",
    "asdfghjkl123",
    "asdfghjkl;'\\",
    "asdfghjklqwerty",
    "asdfghjklzxcvbnm",
    "asdfjkl;asdf",
    "asdfqwerzxcv",
    "asdqwe123zxc",
    "azertyuiop123",
    "azertyuiopqsdf",
    "correct horse battery staple",
    "correcthorsebatterystaple",
    "deadbeefdeadbeef",
    "mnbvcxzlkjhgfdsa",
    "poiuytrewq123",
    "poiuytrewqlkjhgfdsa",
    "q1w2e3r4t5y6",
    "q1w2e3r4t5y6u7i8",
    "qaywsxedcrfv",
    "qazwsxedc123",
    "qazwsxedcrfv",
    "qazwsxedcrfvtgb",
    "qazwsxedcrfvtgbyhn",
    "qazxswedcvfr",
    "qwaszxerdfcv",
    "qwe123asd456",
    "qweasdzxc123",
    "qweasdzxcrty",
    "qwer1234asdf",
    "qwerasdfzxcv",
    "qwertasdfgzxcvb",
    "qwertyasdfgh",
    "qwertyasdfghzxcvbn",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiop1234567890",
    "qwertyuiop[]",
    "qwertyuiop[]\\",
    "qwertyuiopasdf",
    "qwertyuiopasdfghjkl",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdf",
    "qwertzuiopasdfghjkl",
    "thequickbrownfox",
    "the quick brown fox",
    "tobeornottobe",
    "to be or not to be",
    "trustno1trustno1",
    "zaq12wsxcde3",
    "zaq1xsw2cde3",
    "zaq1zaq1zaq1",
    "zxcvbnm,./123",
    "zxcvbnm123456",
    "zxcvbnmasdfghjkl",
    "zxcvbnmasdfghjklqwertyuiop",
];

/// Words of which a password may contain other things, but not consist.
const WORDS: &[&str] = &[
    "abc",
    "access",
    "account",
    "admin",
    "administrator",
    "angel",
    "apple",
    "asdf",
    "asdfgh",
    "autumn",
    "baseball",
    "batman",
    "change",
    "changeit",
    "changeme",
    "computer",
    "convolog",
    "cookie",
    "correct",
    "database",
    "default",
    "demo",
    "dragon",
    "example",
    "flower",
    "football",
    "forever",
    "freedom",
    "friday",
    "google",
    "guest",
    "hello",
    "herbst",
    "hunter",
    "i",
    "iloveyou",
    "internet",
    "is",
    "it",
    "justin",
    "killer",
    "letmein",
    "linkedin",
    "login",
    "love",
    "lovely",
    "master",
    "me",
    "michael",
    "monday",
    "monkey",
    "mustang",
    "my",
    "new",
    "ninja",
    "nothing",
    "now",
    "one",
    "owner",
    "pass",
    "passe",
    "passphrase",
    "passw",
    "passwd",
    "password",
    "passwords",
    "passwort",
    "pokemon",
    "please",
    "postgres",
    "princess",
    "private",
    "qazwsx",
    "qwer",
    "qwert",
    "qwerty",
    "qwertyuiop",
    "qwertz",
    "qwertzuiop",
    "root",
    "samsung",
    "secret",
    "secure",
    "security",
    "server",
    "service",
    "shadow",
    "soccer",
    "sommer",
    "spring",
    "star",
    "starwars",
    "summer",
    "sunday",
    "sunshine",
    "super",
    "superman",
    "support",
    "system",
    "temp",
    "test",
    "tester",
    "testing",
    "the",
    "this",
    "to",
    "trust",
    "trustno",
    "user",
    "welcome",
    "whatever",
    "wilkommen",
    "willkommen",
    "winter",
    "you",
    "your",
    "zxcv",
    "zxcvbn",
    "zxcvbnm",
];

/// Whether a password in lower case is on the list, or is nothing but common words once the decoration is off: digits
/// and signs around it, spaces, and signs that stand for letters.
pub(super) fn is_common(lower: &str) -> bool {
    let core = lower.trim_matches(|character: char| !character.is_alphabetic());
    let plain: String = core.chars().filter(|character| character.is_alphabetic()).collect();
    let folded: String = core.chars().map(letter_meant).filter(|character| character.is_alphabetic()).collect();
    PASSWORDS.contains(&lower) || [plain, folded].iter().any(|text| consists_of_words(text))
}

fn letter_meant(character: char) -> char {
    match character {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        other => other,
    }
}

fn consists_of_words(text: &str) -> bool {
    // reached[n]: the first n bytes are words.
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    for begin in 0..text.len() {
        let Some(rest) = text.get(begin..).filter(|_| reached[begin]) else { continue };
        for word in WORDS.iter().filter(|word| rest.starts_with(**word)) {
            reached[begin + word.len()] = true;
        }
    }
    !text.is_empty() && reached[text.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::MIN_LENGTH;

    #[test]
    fn the_list_is_in_the_form_in_which_it_is_compared() {
        for entry in PASSWORDS.iter().chain(WORDS) {
            assert_eq!(*entry, entry.to_lowercase());
        }
        for password in PASSWORDS {
            assert!(password.chars().count() >= MIN_LENGTH, "{password} is refused for its length anyway");
        }
    }

    #[test]
    fn a_common_word_stays_common_with_its_decoration() {
        for common in [
            "passwordpassword",
            "password1234!",
            "p@ssw0rd2026!!",
            "...welcome12345",
            "summer2026!!!",
            "iloveyou1234",
            "password-password",
            "my secret password",
            "adm1n1strat0r!",
            "letmeinplease",
            "trustno1trustno1",
            "convolog1234!",
            "qwertyqwerty12",
        ] {
            assert!(is_common(common), "{common}");
        }
    }

    #[test]
    fn an_uncommon_word_makes_a_password_uncommon() {
        for good in
            ["password zeppelin", "korrekt pferd batterie", "summer in kamchatka", "918273645546372", "пароль пароль"]
        {
            assert!(!is_common(good), "{good}");
        }
    }
}
