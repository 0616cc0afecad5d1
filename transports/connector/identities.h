// transports/connector/identities.h -- the keys to try on a server, in order, and signing with the current
// one.
//
// Keys of the key agent come first, those whose files were named before the others; then key files that the
// agent does not have. No call blocks but for reading small files; who has to wait is told when to ask again.
// Thread: the loop's.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/loop.h"
#include "transports/connector/key_agent.h"
#include "transports/connector/private_key.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

class Identities {
 public:
  enum class Status : std::uint8_t { kDone, kWait, kFailed };

  // `on_change`: something that was waited for has come. The settings outlive this.
  Identities(Loop& loop, const SessionSettings& settings, Function<void()> on_change);
  Identities(const Identities&) = delete;
  Identities& operator=(const Identities&) = delete;

  // The agent has been asked what it has, or has been given up.
  bool is_ready() const { return ready_; }
  // Is there one to try? Names are for people.
  bool is_over() const { return at_ == keys_.size(); }
  void next();
  const std::string& name() const { return keys_[at_].name; }
  Bytes public_key() const { return keys_[at_].public_key; }
  const std::string& algorithm() const { return keys_[at_].algorithm; }
  // What libssh2's callback gives back. With kWait: ask again after on_change, with the same data.
  Status sign(Bytes data, Buffer& signature);

  // What could not be used, and why; for the error that says that no key was accepted.
  const std::string& complaints() const { return complaints_; }

 private:
  struct Key {
    std::string name;
    Buffer public_key;
    std::string algorithm;
    std::shared_ptr<PrivateKey> from_file;  // null: the agent signs
  };
  void ask_agent();
  void add_agent_keys(const std::vector<AgentKey>& keys);
  void add_files();
  void add(Key key);
  void add_second_algorithms();
  void complain(std::string_view text);

  const SessionSettings& settings_;
  Function<void()> on_change_;
  std::unique_ptr<KeyAgent> agent_;
  std::vector<Key> keys_;
  std::size_t at_ = 0;
  bool ready_ = false;
  enum class Signing : std::uint8_t { kNotAsked, kAsked, kSigned, kFailed };
  Signing signing_ = Signing::kNotAsked;  // of the current key, by the agent
  Buffer signature_;
  std::string complaints_;
};

}  // namespace banyan::connector
