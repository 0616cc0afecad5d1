#include "transports/connector/identities.h"

#include <fcntl.h>

#include <algorithm>
#include <optional>

#include "core/text.h"
#include "transports/connector/file.h"
#include "transports/connector/public_key.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kKeysMax = 32;           // a server hangs up after six refusals, mostly
constexpr Nanos kListDeadline = 3 * kSecond;   // an agent that does not answer is done without
constexpr Nanos kSignDeadline = 60 * kSecond;  // it may ask its user

// A server lets nobody try more often than five times or so.
constexpr std::size_t kTriesMax = 5;

// What we sign with. RSA never with SHA-1; of SHA-2 first that which every server has: dropbear has no other.
constexpr std::string_view kRsa = "rsa-sha2-256", kRsaSecond = "rsa-sha2-512";
std::string algorithm_of(std::string_view type) {
  return std::string(type == "ssh-rsa" ? kRsa : type);
}

// The public key beside a private one, so that a key of the agent can be told by its file.
std::optional<Buffer> public_key_beside(const std::string& path) {
  const std::string beside = path + ".pub";
  const Fd file(::open(beside.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return std::nullopt;
  const Result<Buffer> text = read_whole(file.get(), beside, kKeyFileMax, ErrorClass::kAuth, Phase::kAuth);
  return text ? parse_public_key(as_text(*text)) : std::nullopt;
}

}  // namespace

Identities::Identities(Loop& loop, const SessionSettings& settings, Function<void()> on_change)
    : settings_(settings), on_change_(std::move(on_change)) {
  if (settings_.key_agent.empty()) {
    add_files();
    return;
  }
  agent_ = std::make_unique<KeyAgent>(loop, settings_.key_agent);
  const Result<KeyAgent::RequestId> asked =
      agent_->list_keys(kListDeadline, [this](Result<std::vector<AgentKey>> keys) {
        if (keys) {
          add_agent_keys(*keys);
        } else {
          complain(keys.error().text);
        }
        add_files();
        on_change_();
      });
  if (asked) return;
  complain(asked.error().text);
  add_files();
}

void Identities::complain(std::string_view text) {
  complaints_ += cat(complaints_.empty() ? "" : ", ", text);
}

void Identities::add_agent_keys(const std::vector<AgentKey>& keys) {
  std::vector<Buffer> named;
  for (const std::string& path : settings_.identities)
    if (std::optional<Buffer> blob = public_key_beside(path)) named.push_back(std::move(*blob));
  const auto is_named = [&](const AgentKey& key) {
    return std::ranges::find(named, key.public_blob) != named.end();
  };
  for (const bool want_named : {true, false}) {
    if (!want_named && settings_.only_identities) return;
    for (const AgentKey& key : keys) {
      if (key.type.empty() || is_named(key) != want_named) continue;
      add({.name = cat(key.comment, " (key agent)"),
           .public_key = key.public_blob,
           .algorithm = algorithm_of(key.type),
           .from_file = nullptr});
    }
  }
}

void Identities::add_files() {
  for (const std::string& path : settings_.identities) {
    const Result<Secret> text = read_private_key(path);
    if (!text) {
      // The usual names are tried whether they are there or not.
      if (text.error().system_error != ENOENT) complain(text.error().text);
      continue;
    }
    const Result<PrivateKeyForm> form = look_at_private_key(text->bytes(), path);
    if (!form) {
      complain(form.error().text);
      continue;
    }
    const auto same = [&](const Key& key) { return key.public_key == form->public_blob; };
    if (!form->public_blob.empty() && std::ranges::any_of(keys_, same)) continue;  // the agent signs with it
    if (form->encrypted) {
      complain(cat(path, " wants a passphrase: ssh-add it"));
      continue;
    }
    Result<PrivateKey> key = parse_private_key(text->bytes(), path, {});
    if (!key) {
      complain(key.error().text);
      continue;
    }
    add({.name = path,
         .public_key = key->public_blob(),
         .algorithm = algorithm_of(key->type()),
         .from_file = std::make_shared<PrivateKey>(std::move(*key))});
  }
  add_second_algorithms();
  ready_ = true;
}

// What a server takes of the two it does not say to libssh2 1.10. One that takes only the second gets it when
// all else was refused.
void Identities::add_second_algorithms() {
  for (std::size_t i = 0, keys = keys_.size(); i < keys && keys_.size() < kTriesMax; ++i) {
    if (keys_[i].algorithm != kRsa) continue;
    Key second = keys_[i];
    second.name += cat(" (", kRsaSecond, ")");
    second.algorithm = kRsaSecond;
    add(std::move(second));
  }
}

void Identities::add(Key key) {
  if (keys_.size() < kKeysMax) keys_.push_back(std::move(key));
}

void Identities::next() {
  ++at_;
  signing_ = Signing::kNotAsked;
}

Identities::Status Identities::sign(Bytes data, Buffer& signature) {
  const Key& key = keys_[at_];
  if (key.from_file) {
    Result<Buffer> made = key.from_file->sign(key.algorithm, data);
    if (!made) {
      complain(made.error().text);
      return Status::kFailed;
    }
    signature = std::move(*made);
    return Status::kDone;
  }
  if (signing_ == Signing::kNotAsked) {
    signing_ = Signing::kAsked;
    const auto asked =
        agent_->sign(key.public_key, data, key.algorithm, kSignDeadline, [this](Result<Buffer> made) {
          signing_ = made ? Signing::kSigned : Signing::kFailed;
          if (made) {
            signature_ = std::move(*made);
          } else {
            complain(made.error().text);
          }
          on_change_();
        });
    if (!asked) {
      complain(asked.error().text);
      signing_ = Signing::kFailed;
    }
  }
  switch (signing_) {
    case Signing::kSigned:
      signature = signature_;
      return Status::kDone;
    case Signing::kFailed:
      return Status::kFailed;
    default:
      return Status::kWait;
  }
}

}  // namespace banyan::connector
