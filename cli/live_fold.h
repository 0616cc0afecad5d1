// cli/live_fold.h -- when what Fold holds is shown: soon enough for people who watch a run.
//
// Groups are shown when nothing can change them any more: when all have ended. Before that
//   a host that has said something and does not end    is released, and seen line by line
//   groups, while nothing has ended for a moment       are shown as they are: the rest takes its time
//   groups, held for long                              are shown as they are
// Who asks for folding in so many words (--fold) gets all of it at the end, whatever the time.
// Failures wait as groups do, and stand after them; equal ones are one line.
//
// Thread: the loop's. The loop outlives it; what it writes goes to the writing thread.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cli/fold.h"
#include "core/loop.h"

namespace banyan::cli {

struct FoldTimes {
  Nanos unfinished = 5 * kSecond;  // after its first word: what answers quickly has ended by then
  Nanos quiet = 10 * kSecond;      // since the last that ended: twice that, so released ones are seen first
  Nanos held = 60 * kSecond;       // since the first that ended: longer than anybody looks at a progress line
};
constexpr std::uint64_t kHostHeldMax = 4 << 20;  // of one host: what is longer nobody compares at a glance
constexpr std::size_t kFailuresHeldMax = 1'000;  // different ones; a line has some hundred bytes

class LiveFold {
 public:
  struct Writing {
    std::function<void(std::shared_ptr<TextSource>)> source;
    std::function<void(const std::string& names, std::string_view phase, std::string_view text)> failure;
  };
  // `times` null: everything at the end.
  LiveFold(Loop& loop, std::shared_ptr<Fold> fold, const FoldTimes* times, Writing writing);
  LiveFold(const LiveFold&) = delete;
  LiveFold& operator=(const LiveFold&) = delete;
  ~LiveFold() { loop_.cancel(timer_); }

  // One host, from its start to its end.
  class Member {
   public:
    Member(LiveFold& live, const std::string& name);
    Member(const Member&) = delete;
    Member& operator=(const Member&) = delete;
    ~Member() { live_.members_.erase(this); }
    std::shared_ptr<StreamFormat> stream(bool is_err);
    // It has said something.
    void said();
    // Its streams have been finished.
    void ended();

   private:
    friend class LiveFold;
    LiveFold& live_;
    const std::string name_;
    const std::shared_ptr<Fold::Host> host_;
    Nanos first_word_ = -1;  // -1: none yet
    bool has_ended_ = false, is_released_ = false;
  };

  // The host ended well; if it has said nothing, that is what it said.
  void succeeded(std::string_view name);
  void failed(std::string_view name, std::string_view phase, std::string_view text);
  // While somebody else has the terminal, a question say: what is held stays held.
  void wait(bool wait) { is_waiting_ = wait; }
  // Shows all that is held of hosts that have ended.
  void show();

 private:
  struct Failure {
    std::string phase, text;
    std::vector<std::string> names;
  };
  void arm();
  void look();

  Loop& loop_;
  const std::shared_ptr<Fold> fold_;
  const bool is_live_;
  const FoldTimes times_;
  const Writing writing_;
  std::set<Member*> members_;  // that exist
  std::set<std::string, std::less<>> spoke_;
  std::vector<std::string> silent_;
  std::vector<Failure> failures_;
  std::map<std::pair<std::string, std::string>, std::size_t> failure_places_;
  Nanos first_held_ = -1, last_end_ = 0;  // -1: nothing is held
  Loop::TimerId timer_ = 0;
  bool is_waiting_ = false;
};

}  // namespace banyan::cli
