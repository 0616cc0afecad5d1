// parent/start_journal.h -- what a start went through, for whoever tells people about it (cli/doctor.h).
//
// The runner fills it in as it happens. Whoever asked for it may read it at any time on the loop's thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/loop.h"
#include "core/result.h"

namespace banyan {

struct StartJournal {
  static constexpr std::size_t kSaidMax = 64 * 1024;  // bytes: what a talkative ssh says, and a banner
  static constexpr std::size_t kPhasesMax = 64;       // no honest start has more than one or two of each

  struct Entered {
    Phase phase;
    Nanos at;
  };
  struct Said {
    std::string text;
    Nanos at;
  };
  Nanos began = 0, reported = 0;  // reported: by stage 0; 0: not
  std::vector<Entered> phases;
  std::vector<Said> said;  // the transport's stderr, in the pieces it came in
  std::size_t said_bytes = 0;
  std::string noise;   // of the login shell, before stage 0 reported
  std::string report;  // stage 0's, as docs/how_it_works.md has it, from the machine on
  std::uint64_t bytes_sent = 0;

  void enter(Phase phase, Nanos now);
  void say(std::string_view text, Nanos now);
  // What came before stage 0's report, and that, once. While there is none: what came at all.
  void note_shell(const std::string& so_far, const std::string& its_report, Nanos now);
};

// Takes the lines that begin in one way out of a text that comes in pieces. Without such a beginning: none.
class AsideFilter {
 public:
  explicit AsideFilter(std::string beginning) : beginning_(std::move(beginning)) {}
  // What remains of it, as whole lines.
  std::string feed(std::string_view text);
  // The line that has no end.
  std::string finish();

 private:
  const std::string beginning_;
  std::string begun_;
};

}  // namespace banyan
