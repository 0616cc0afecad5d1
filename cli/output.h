// cli/output.h -- everything the program says: output of targets, failures, events, summaries.
//
//   one target    its bytes, stdout and stderr apart, nothing added
//   many          "host: line", whole lines, stderr's on our stderr; or folded (cli/live_fold.h)
//   --json        events on stdout, nothing else there
// Failures and the summary go to stderr, or with --json are events; notices always go to stderr. Lines of our
// own are always escaped: they carry texts from elsewhere.
//
// Thread: the loop's; writing happens on threads of Writer. The loop outlives it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "cli/events.h"
#include "cli/format.h"
#include "cli/live_fold.h"
#include "cli/options.h"
#include "cli/writer.h"

namespace banyan::cli {

class Output {
 public:
  struct Style {
    bool one = false;  // transparent
    bool json = false;
    bool quiet = false;
    bool escape_out = false, escape_err = false;  // a terminal, and not --raw
    bool color_out = false, color_err = false;
    bool summary = false;    // for people: many targets, on a terminal
    bool fold = false;       // hosts that said the same are shown once
    bool fold_live = false;  // because a person watches, not because it was asked for
    bool progress = false;   // a line below all else
  };
  static Style style_for(const Options& options);

  // `on_stdout_failed` once, with errno, when nobody reads our standard output any more or its disk is full.
  Output(Loop& loop, const Style& style, std::function<void(int error)> on_stdout_failed);

  // One target's two streams. May outlive neither the Output nor be used after close().
  class Streams {
   public:
    Streams(Output& output, const std::string& target);
    void write(bool is_err, std::string_view bytes, Charge charge);
    void finish(bool is_err);

   private:
    Output& output_;
    std::unique_ptr<LiveFold::Member> member_;  // when folding
    std::shared_ptr<StreamFormat> formats_[2];  // of the writing thread; null: bytes go as they are
    bool finished_[2] = {false, false};
  };

  void start(std::string_view target, ContextId context, const std::vector<std::string>& route,
             std::string_view transport);
  // The command ended by itself. `text`: what to say of it, empty for success.
  void exit(std::string_view target, std::optional<int> code, std::optional<int> signal,
            std::string_view text, Nanos took);
  // `route`: names on the way, the jumps first and the target last.
  void fail(std::string_view target, const std::vector<std::string>& route, const Error& error, Nanos took);
  // All targets have ended: what was held to be folded is shown. Idempotent.
  void all_ended();
  void summary(const Counts& counts, Nanos took, int exit_code);
  void context(const ContextFacts& facts);  // --json
  void plan(const TargetPlan& plan);
  // A line for people, on stderr. Escaped here. While kNoticesMax of them wait for a reader, further ones are
  // counted instead, and the count is said when there is room again.
  void notice(std::string_view text);
  // Text of our own for standard output, with its newlines; escape foreign parts with printable().
  void text(std::string text);

  // The line below all else; empty: none. Nothing happens while it is hidden, or when style() has none.
  void set_progress(const std::string& line);
  // While somebody else writes to the terminal, a question say. `then` when what waits has been written and
  // the line is gone; each hide_progress() needs its show_progress().
  void hide_progress(std::function<void()> then);
  void show_progress();
  void end_progress();  // none comes any more
  // We leave: what somebody reads at once is written, and the progress line is taken away. Waits for `most`.
  void last_words(Nanos most);

  // Runs `then` when all has been written, or cannot be.
  void when_written(std::function<void()> then);
  // Throws away output of targets that waits for a reader. What we say ourselves stays.
  void discard();
  // Grows while somebody reads us.
  std::uint64_t written() const;
  // From here on nothing is said of targets that fail, and no summary: our reader has gone, as ours would
  // have.
  void hush() { hushed_ = true; }
  bool is_idle() const;
  const Style& style() const { return style_; }

 private:
  friend class Streams;
  void put(int fd, std::string bytes);
  void say_what_was_left_out();
  void failure_line(std::string_view target, std::string_view phase, std::string_view text);
  void put_failure(std::string_view names, std::string_view phase, std::string_view text);
  Writer& writer(int fd) { return fd == 1 || !err_ ? *out_ : *err_; }

  const Style style_;
  const Events events_;
  Loop& loop_;
  bool hushed_ = false;
  int hidden_ = 0;  // how many want no progress line
  bool progress_is_over_ = false;
  std::size_t notices_left_out_ = 0;
  std::unique_ptr<Writer> out_, err_;  // no err_: both are one place, and what is said stays in order
  std::unique_ptr<LiveFold> fold_;
};

}  // namespace banyan::cli
