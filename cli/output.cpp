#include "cli/output.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <utility>

#include "cli/plan_text.h"
#include "cli/progress.h"
#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr int kOut = STDOUT_FILENO, kErr = STDERR_FILENO;
constexpr std::size_t kNoticesMax =
    1'000;  // beyond what a person reads; a line is at most 8 KiB of a log record
constexpr std::string_view kFailColor = "\x1b[31m", kPlain = "\x1b[0m";

// One file; or terminals, which are one with different names.
bool one_place(int first, int second) {
  if (isatty(first) == 1 && isatty(second) == 1) return true;
  struct stat a, b;
  return fstat(first, &a) == 0 && fstat(second, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

std::string colored(std::string_view text, std::string_view color, bool use) {
  return use ? cat(color, text, kPlain) : std::string(text);
}

// "0.3s", "12.4s"
std::string short_time(Nanos took) {
  const Nanos tenths = (took + 50 * kMillisecond) / (100 * kMillisecond);
  return cat(tenths / 10, ".", tenths % 10, "s");
}

}  // namespace

Output::Style Output::style_for(const Options& options) {
  const bool out_is_terminal = isatty(kOut) == 1, err_is_terminal = isatty(kErr) == 1;
  const char* no_color = std::getenv("NO_COLOR");
  auto color = [&](bool terminal) {
    if (options.color != Color::kAuto) return options.color == Color::kAlways;
    return terminal && (no_color == nullptr || *no_color == '\0');
  };
  Style style;
  style.one = options.targets.one;
  style.json = options.json;
  style.quiet = options.quiet;
  style.escape_out = out_is_terminal && !options.raw;
  style.escape_err = err_is_terminal && !options.raw;
  style.color_out = color(out_is_terminal);
  style.color_err = color(err_is_terminal);
  style.summary = !style.one && !options.quiet && err_is_terminal;
  const bool may_fold = options.verb == Verb::kRun && !style.one && !style.json;
  style.fold_live = may_fold && !options.fold && out_is_terminal && !options.raw;
  style.fold = style.fold_live || (may_fold && options.fold.value_or(false));
  style.progress = !options.quiet && !style.json && err_is_terminal;
  return style;
}

Output::Output(Loop& loop, const Style& style, std::function<void(int error)> on_stdout_failed)
    : style_(style), events_(style.json && style.escape_out), loop_(loop) {
  auto on_failed = [tell = std::move(on_stdout_failed)](int fd, int error) {
    if (fd == kOut) tell(error);  // who does not read our stderr misses what is said there, and no more
  };
  out_ = std::make_unique<Writer>(loop, on_failed);
  if (!one_place(kOut, kErr)) err_ = std::make_unique<Writer>(loop, on_failed);
  if (!style.fold) return;
  Fold::Look look;
  look.escape = style.escape_out;
  look.color = style.color_out;
  look.utf8 = locale_is_utf8();
  look.host_max = style.fold_live ? kHostHeldMax : 0;
  auto on_trouble = [this](std::string why) {  // on the writing thread
    loop_.post([this, why = std::move(why)] { notice(cat("banyan: output is not folded any more: ", why)); });
  };
  const FoldTimes times;
  fold_ = std::make_unique<LiveFold>(
      loop, std::make_shared<Fold>(look, SipHash::Key{loop.random(), loop.random()}, on_trouble),
      style.fold_live ? &times : nullptr,
      LiveFold::Writing{
          [this](std::shared_ptr<TextSource> source) { out_->write_source(kOut, std::move(source)); },
          [this](const std::string& names, std::string_view phase, std::string_view text) {
            put_failure(names, phase, text);
          }});
}

Output::Streams::Streams(Output& output, const std::string& target) : output_(output) {
  const Style& style = output.style_;
  if (output.fold_) member_ = std::make_unique<LiveFold::Member>(*output.fold_, target);
  for (bool is_err : {false, true}) {
    const bool escape = is_err ? style.escape_err : style.escape_out;
    const bool color = is_err ? style.color_err : style.color_out;
    std::shared_ptr<StreamFormat>& format = formats_[is_err];
    if (style.json) {
      format = std::make_shared<JsonFormat>(output.events_, target, is_err);
    } else if (style.one) {
      if (escape) format = std::make_shared<PlainFormat>(escape);
    } else if (member_ && (!is_err || !output.err_)) {
      format = member_->stream(is_err);
    } else {
      format = std::make_shared<LineFormat>(host_prefix(target, color), escape);
    }
  }
}

void Output::Streams::write(bool is_err, std::string_view bytes, Charge charge) {
  // What is held back of a line is not charged: the sender's window must not wait for a newline.
  const int fd = is_err && !output_.style_.json ? kErr : kOut;
  if (member_) member_->said();
  // It may end within a line, which a line of ours must not disturb.
  if (output_.style_.one && output_.style_.progress) output_.end_progress();
  output_.writer(fd).write_output(fd, formats_[is_err], std::string(bytes), std::move(charge));
}

void Output::Streams::finish(bool is_err) {
  if (std::exchange(finished_[is_err], true)) return;
  const int fd = is_err && !output_.style_.json ? kErr : kOut;
  output_.writer(fd).finish_output(fd, formats_[is_err]);
  if (member_ && finished_[!is_err]) member_->ended();
}

void Output::put(int fd, std::string bytes) {
  writer(fd).write(fd, std::move(bytes));
}

void Output::start(std::string_view target, ContextId context, const std::vector<std::string>& route,
                   std::string_view transport) {
  if (style_.json) put(kOut, events_.start(target, context, route, transport));
}

void Output::exit(std::string_view target, std::optional<int> code, std::optional<int> signal,
                  std::string_view text, Nanos took) {
  if (style_.json) {
    put(kOut, events_.exit(target, code, signal, took));
  } else if (text.empty()) {
    if (fold_) fold_->succeeded(target);
  } else if (!style_.quiet) {
    failure_line(target, name_of(Phase::kCommand), text);
  }
}

void Output::fail(std::string_view target, const std::vector<std::string>& route, const Error& error,
                  Nanos took) {
  if (style_.json) return put(kOut, events_.fail(target, route, error, took));
  std::string_view sentence = error.text;
  if (sentence.ends_with('.')) sentence.remove_suffix(1);
  std::string text(sentence);
  for (std::size_t i = 0; i + 1 < route.size(); ++i) text += cat(i == 0 ? ", by way of " : ", ", route[i]);
  if (!error.remedy.empty()) text += cat(" (", error.remedy, ")");
  failure_line(target, name_of(error.phase), text);
}

void Output::failure_line(std::string_view target, std::string_view phase, std::string_view text) {
  if (fold_) return fold_->failed(target, phase, text);
  put_failure(target, phase, text);
}

void Output::put_failure(std::string_view names, std::string_view phase, std::string_view text) {
  if (hushed_) return;
  put(kErr, cat(colored("✗", kFailColor, style_.color_err), " ", printable(names), "  ", phase, ": ",
                printable(text), "\n"));
}

void Output::all_ended() {
  if (fold_) fold_->show();
}

void Output::summary(const Counts& counts, Nanos took, int exit_code) {
  end_progress();
  if (style_.json) {
    put(kOut, events_.summary(counts, took, exit_code));
    return;
  }
  if (!style_.summary || hushed_) return;
  std::string line = cat(counts.ok, " ok");
  auto add = [&line](std::size_t count, std::string_view what) {
    if (count > 0) line += cat(" · ", count, " ", what);
  };
  add(counts.failed, "failed");
  add(counts.timeout, "timed out");
  add(counts.unreachable, "unreachable");
  add(counts.cancelled, "cancelled");
  line += cat(" · ", short_time(took));
  if (exit_code != 0) line += cat("  [exit ", exit_code, "]");
  put(kErr, line + "\n");
}

void Output::end_progress() {
  set_progress("");
  progress_is_over_ = true;
}

void Output::context(const ContextFacts& facts) {
  put(kOut, events_.context(facts));
}

void Output::plan(const TargetPlan& plan) {
  put(kOut, style_.json ? events_.plan(plan) : plan_text(plan));
}

void Output::notice(std::string_view text) {
  if (writer(kErr).queued() >= kNoticesMax) {
    ++notices_left_out_;
    return;
  }
  say_what_was_left_out();
  put(kErr, cat(printable(text), "\n"));
}

void Output::say_what_was_left_out() {
  const std::size_t lines = std::exchange(notices_left_out_, 0);
  if (lines > 0) put(kErr, cat(lines, " lines are left out here: they came faster than they were read\n"));
}

void Output::text(std::string text) {
  put(kOut, std::move(text));
}

void Output::set_progress(const std::string& line) {
  if (style_.progress && hidden_ == 0 && !progress_is_over_) writer(kErr).set_status(kErr, line);
}

void Output::hide_progress(std::function<void()> then) {
  set_progress("");
  ++hidden_;
  if (fold_) fold_->wait(true);
  writer(kErr).when_written(std::move(then));
}

void Output::show_progress() {
  ASSERT(hidden_ > 0);
  if (--hidden_ == 0 && fold_) fold_->wait(false);
}

void Output::last_words(Nanos most) {
  out_->wait_written(most);
  if (err_) err_->wait_written(most);
  writer(kErr).drop_status();
}

void Output::when_written(std::function<void()> then) {
  say_what_was_left_out();
  out_->when_written([this, then = std::move(then)] {
    if (err_) {
      err_->when_written(then);
    } else {
      then();
    }
  });
}

void Output::discard() {
  out_->discard();
  if (err_) err_->discard();
}

std::uint64_t Output::written() const {
  return out_->written() + (err_ ? err_->written() : 0);
}

bool Output::is_idle() const {
  return out_->is_idle() && (!err_ || err_->is_idle());
}

}  // namespace banyan::cli
