//! Who provides a model, when nothing but its name is known.

/// When the name says nothing either.
const UNKNOWN: &str = "unknown";

/// First words of the names of models that one house alone gives.
const FAMILIES: [(&str, &str); 8] = [
    ("gpt", "openai"),
    ("chatgpt", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding", "openai"),
    ("claude", "anthropic"),
    ("gemini", "google"),
];

/// The provider by the model's name: what stands before a slash (`azure/gpt-4o`), else the house of its family, else
/// `unknown`: many offer the open models.
pub(super) fn provider_of(model: Option<&str>) -> &str {
    let Some(model) = model else { return UNKNOWN };
    if let Some((provider, _)) = model.split_once('/').filter(|(provider, _)| !provider.is_empty()) {
        return provider;
    }
    let is_of = |family: &str| model.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    FAMILIES.iter().find(|(family, _)| is_of(family)).map_or(UNKNOWN, |(_, provider)| provider)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_known_by_a_slash_or_by_the_family_of_the_model() {
        for (model, provider) in [
            ("gpt-4o-mini", "openai"),
            ("o1", "openai"),
            ("o3-mini", "openai"),
            ("o1000", "unknown"),
            ("claude-3-5-sonnet-20241022", "anthropic"),
            ("gemini-2.5-pro", "google"),
            ("azure/gpt-4o", "azure"),
            ("/gpt-4o", "unknown"),
            ("llama-3.1-70b", "unknown"),
            ("", "unknown"),
        ] {
            assert_eq!(provider_of(Some(model)), provider, "{model}");
        }
        assert_eq!(provider_of(None), "unknown");
    }
}
