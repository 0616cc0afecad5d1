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
constexpr std::size_t kComplaintsMax = 2'000;  // characters: nobody reads more

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

Identities::Identities(Loop& loop, KeyRing& ring, const SessionSettings& settings, Function<void()> on_change,
                       Function<void(const std::string&)> ask)
    : ring_(ring), settings_(settings), on_change_(std::move(on_change)), ask_(std::move(ask)) {
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
  if (complaints_.size() > kComplaintsMax) return;
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
           .from_file = nullptr,
           .file = {}});
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
      add_encrypted(path, *form);
      continue;
    }
    Result<PrivateKey> key = parse_private_key(text->bytes(), path, {});
    if (!key) {
      complain(key.error().text);
      continue;
    }
    add_opened(path, std::make_shared<const PrivateKey>(std::move(*key)));
  }
  add_second_algorithms();
  ready_ = true;
}

void Identities::add_opened(const std::string& path, const KeyRing::Key& key) {
  add({.name = path,
       .public_key = key->public_blob(),
       .algorithm = algorithm_of(key->type()),
       .from_file = key,
       .file = {}});
}

void Identities::add_encrypted(const std::string& path, const PrivateKeyForm& form) {
  if (KeyRing::Key key = ring_.find(path)) return add_opened(path, key);
  if (!settings_.may_ask) return complain(cat(path, " wants a passphrase: ssh-add it"));
  Buffer blob = form.public_blob;
  if (blob.empty()) blob = public_key_beside(path).value_or(Buffer());
  const std::string_view type = public_key_type(blob);
  if (type.empty()) blob.clear();
  add({.name = path,
       .public_key = std::move(blob),
       .algorithm = type.empty() ? std::string() : algorithm_of(type),
       .from_file = nullptr,
       .file = path});
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
  opening_ = Opening::kNotAsked;
  passphrases_ = 0;
}

std::vector<Identities::Offered> Identities::offered() const {
  std::vector<Offered> offered;
  for (const Key& key : keys_) {
    const auto same = [&](const Offered& other) {
      return std::ranges::equal(other.public_key, key.public_key);
    };
    if (!key.public_key.empty() && std::ranges::none_of(offered, same)) offered.push_back({key.public_key});
  }
  return offered;
}

bool Identities::choose(Bytes public_key, std::string_view algorithm) {
  const auto is_rsa = [](std::string_view name) { return name == kRsa || name == kRsaSecond; };
  const auto is_it = [&](const Key& key) {
    return std::ranges::equal(key.public_key, public_key) &&
           (key.algorithm == algorithm || (is_rsa(key.algorithm) && is_rsa(algorithm)));
  };
  if (!is_over() && is_it(keys_[at_]) && keys_[at_].algorithm == algorithm) return true;
  const auto found = std::ranges::find_if(keys_, is_it);
  if (found == keys_.end()) return false;
  at_ = std::size_t(found - keys_.begin());
  found->algorithm = algorithm;
  signing_ = Signing::kNotAsked;
  opening_ = Opening::kNotAsked;
  passphrases_ = 0;
  return true;
}

Identities::Status Identities::prepare() {
  if (!keys_[at_].public_key.empty()) return Status::kDone;
  return open();
}

// --- passphrases ---

Identities::Status Identities::open() {
  Key& key = keys_[at_];
  if (key.from_file) return Status::kDone;
  if (KeyRing::Key opened = ring_.find(key.file)) {
    if (key.public_key.empty()) {
      key.algorithm = algorithm_of(opened->type());
      key.public_key = opened->public_blob();
    }
    if (key.public_key != opened->public_blob()) {
      complain(cat(key.file, ".pub is of another key"));
      opening_ = Opening::kFailed;
      return Status::kFailed;
    }
    key.from_file = std::move(opened);
    return Status::kDone;
  }
  if (opening_ == Opening::kFailed) return Status::kFailed;
  if (opening_ == Opening::kNotAsked) {
    opening_ = Opening::kAsked;
    ask_(key.file);
  }
  return Status::kWait;
}

void Identities::give_passphrase(Secret passphrase) {
  if (is_over() || opening_ != Opening::kAsked) return;
  const std::string file = keys_[at_].file;
  ++passphrases_;
  ring_.open(file, std::move(passphrase), [this, alive = alive_, file](const Result<KeyRing::Key>& key) {
    if (!*alive || is_over() || keys_[at_].file != file) return;
    if (key) {
      opening_ = Opening::kNotAsked;
    } else if (key.error().error_class == ErrorClass::kResource) {
      shortage_ = key.error();
      complain(key.error().text);
      opening_ = Opening::kFailed;
    } else if (passphrases_ < kPassphraseTriesMax) {
      ask_(file);
      return;
    } else {
      complain(key.error().text);
      opening_ = Opening::kFailed;
    }
    on_change_();
  });
}

void Identities::give_up_passphrase() {
  if (is_over() || opening_ != Opening::kAsked) return;
  complain(cat("no passphrase was given for ", keys_[at_].file));
  opening_ = Opening::kFailed;
}

Identities::Status Identities::sign(Bytes data, Buffer& signature) {
  if (!keys_[at_].file.empty()) {
    if (const Status opened = open(); opened != Status::kDone) return opened;
  }
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
