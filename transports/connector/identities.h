// transports/connector/identities.h -- the keys to try on a server, in order, and signing with the current
// one.
//
// Keys of the key agent come first, those whose files were named before the others; then key files that the
// agent does not have. A passphrase is asked for when the server has said that it would take the key, where
// the public half is to be had without it. No call blocks but for reading small files; who has to wait is
// told when to ask again. Thread: the loop's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/loop.h"
#include "transports/connector/key_agent.h"
#include "transports/connector/key_ring.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

class Identities {
 public:
  enum class Status : std::uint8_t { kDone, kWait, kFailed };

  // `on_change`: something that was waited for has come. `ask`: the passphrase of that file is wanted, to be
  // given later. Settings and ring outlive this.
  Identities(Loop& loop, KeyRing& ring, const SessionSettings& settings, Function<void()> on_change,
             Function<void(const std::string& file)> ask);
  Identities(const Identities&) = delete;
  Identities& operator=(const Identities&) = delete;
  ~Identities() { *alive_ = false; }

  // The agent has been asked what it has, or has been given up.
  bool is_ready() const { return ready_; }
  // Is there one to try? Names are for people.
  bool is_over() const { return at_ == keys_.size(); }
  void next();
  // Before the current one is shown to a server: kDone, or it cannot be used, or ask again after on_change.
  Status prepare();
  // The current one could not be used, so that it was not the server who refused it.
  bool has_failed() const { return opening_ == Opening::kFailed; }
  const std::string& name() const { return keys_[at_].name; }
  Bytes public_key() const { return keys_[at_].public_key; }
  const std::string& algorithm() const { return keys_[at_].algorithm; }
  // What libssh2's callback gives back. With kWait: ask again after on_change, with the same data.
  Status sign(Bytes data, Buffer& signature);

  // Each key once, in order; of those that can be shown without their passphrase.
  struct Offered {
    Bytes public_key;  // as long as we live
  };
  std::vector<Offered> offered() const;
  // Makes the key the current one, to sign so; as it was, if it is that already. False: there is none, or it
  // does not sign so.
  bool choose(Bytes public_key, std::string_view algorithm);

  // In answer to `ask`.
  void give_passphrase(Secret passphrase);
  void give_up_passphrase();

  // What could not be used, and why; for the error that says that no key was accepted.
  const std::string& complaints() const { return complaints_; }
  // Why there is no sense in going on with any key.
  const std::optional<Error>& shortage() const { return shortage_; }

 private:
  struct Key {
    std::string name;
    Buffer public_key;
    std::string algorithm;
    KeyRing::Key from_file;  // null: the agent signs, or it has to be opened first
    std::string file;        // to be opened with its passphrase; empty: not
  };
  void ask_agent();
  void add_agent_keys(const std::vector<AgentKey>& keys);
  void add_files();
  void add_opened(const std::string& path, const KeyRing::Key& key);
  void add_encrypted(const std::string& path, const PrivateKeyForm& form);
  void add(Key key);
  void add_second_algorithms();
  Status open();
  void complain(std::string_view text);

  KeyRing& ring_;
  const SessionSettings& settings_;
  Function<void()> on_change_;
  Function<void(const std::string&)> ask_;
  std::unique_ptr<KeyAgent> agent_;
  std::vector<Key> keys_;
  std::size_t at_ = 0;
  bool ready_ = false;
  enum class Signing : std::uint8_t { kNotAsked, kAsked, kSigned, kFailed };
  Signing signing_ = Signing::kNotAsked;  // of the current key, by the agent
  Buffer signature_;
  enum class Opening : std::uint8_t { kNotAsked, kAsked, kFailed };
  Opening opening_ = Opening::kNotAsked;  // of the current key
  unsigned passphrases_ = 0;              // tried on it
  std::string complaints_;
  std::optional<Error> shortage_;
  Alive alive_;
};

}  // namespace banyan::connector
