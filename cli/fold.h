// cli/fold.h -- hosts that said the same are shown once: "web[1-17,19] (18)  6.1.0-28-amd64".
//
// What a host says is held until it has ended. Then it joins the group that said the same, and its text is
// dropped, or begins one. Two hosts said the same when the lines of their standard output are the same, and
// those of their standard error: each stream's in order; how the two streams came between each other is
// chance, and shown as the first host had it. Equality is that of a keyed hash (cli/sip_hash.h) of the bytes
// as they came, so texts that are long gone need not be read again. Texts lie in a Spill.
//
// A host that says much, or whose text can no longer be kept, is released: what is held of it is written with
// its name in front of each line, and so is all that follows.
//
// Thread: add(), stream(), release() and groups() are the loop's; what they return, and everything else,
// belongs to the thread that writes (cli/writer.h), of which there is one.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/format.h"
#include "cli/sip_hash.h"
#include "cli/spill.h"

namespace banyan::cli {

class Fold : public std::enable_shared_from_this<Fold> {
 public:
  struct Look {
    bool escape = false, color = false, utf8 = false;
    std::uint64_t host_max = 0;  // bytes held of one host; 0: no limit
  };
  // `on_trouble` once, on the writing thread: what keeps texts from being held any longer.
  Fold(const Look& look, const SipHash::Key& key, std::function<void(std::string)> on_trouble,
       std::unique_ptr<Spill> spill = std::make_unique<Spill>());

  class Host;
  std::shared_ptr<Host> add(const std::string& name);
  // REQUIRES: all streams of a host are made before one is used, and each is finished.
  std::shared_ptr<StreamFormat> stream(const std::shared_ptr<Host>& host, bool is_err);
  std::shared_ptr<TextSource> release(std::shared_ptr<Host> host);
  // The groups of all hosts that have ended since the last time, the largest first. `silent` are hosts that
  // ended well and said nothing: a group of their own where others said something.
  std::shared_ptr<TextSource> groups(std::vector<std::string> silent);

 private:
  class Stream;
  class Release;
  class Groups;
  class Lines;
  using Key = std::pair<SipHash::Digest, SipHash::Digest>;
  struct Group {
    Key key;
    std::vector<std::string> names;
    Spill::Text text;
    std::uint64_t lines = 0;
    std::string folded = {};  // its names
    bool differs = false;
  };

  void hold(Host& host, std::string_view lines);
  bool release_piece(Host& host, std::string& out);
  void close(Host& host);
  std::vector<Group> take_groups(const std::vector<std::string>& silent);

  const Look look_;
  const SipHash::Key key_;
  const std::function<void(std::string)> on_trouble_;
  std::unique_ptr<Spill> spill_;
  bool is_told_ = false;
  std::vector<Group> groups_;              // not shown yet, in order of their first hosts' ends
  std::map<Key, std::size_t> places_;      // in groups_
  std::map<Key, std::size_t> hosts_with_;  // of all that ended, shown or not
  std::size_t hosts_ = 0;
};

// "web1: ", coloured when asked.
std::string host_prefix(std::string_view name, bool color);

}  // namespace banyan::cli
