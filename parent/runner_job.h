// parent/runner_job.h -- one child from its start to its end: transport process, dialogue, link, farewell.
//
// Part of the Runner; nobody else includes this.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "parent/carrier.h"
#include "parent/handshake.h"
#include "parent/runner.h"

namespace banyan {

class Runner::Job final : private Link::Owner, private Carrier::Owner {
 public:
  Job(Runner& runner, StartId id, Recipe recipe, OnUp on_up, OnLost on_lost);
  ~Job();

  void begin();
  void cancel();
  void shut_down(Nanos within, Function<void()> done);

  StartId id() const { return id_; }
  Phase phase() const { return phase_; }
  Nanos asked() const { return asked_; }
  bool is_up() const { return child_.id != 0; }
  ContextId context() const { return child_.id; }
  // Nothing is left of it but its callbacks.
  bool is_over() const { return carrier_over_ && link_over_; }
  std::vector<Function<void()>> take_waiters() { return std::move(waiters_); }

 private:
  // Link::Owner, until the hello; then the router is.
  void on_frame(Link& link, const Header& header, Bytes payload) override;
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link& link, const Error& error, FrameQueue unsent) override;

  void on_carrier_phase(Phase phase) override;
  void on_carrier_asks(bool asks) override;
  void on_carrier_text(std::string_view text) override;
  void on_carrier_end(const Carrier::Ending& ending) override;

  Result<std::unique_ptr<Carrier>> start_carrier(Fd far_end);
  void talk(Ready ready);  // the dialogue with stage 0
  void advance();          // after each of its steps
  void write_upload();
  void make_link(Bytes early);
  void welcome(IdRange ids);
  void on_link_down(const Error& error);

  void enter(Phase phase, Nanos deadline);
  void note_phase(Phase phase);
  void note_shell();
  void limit_total(Nanos left);
  void fail(Error error);
  void transport_ended(Error error);
  Error explained(Error error) const;
  const Symptom* complaint(std::string_view& line) const;
  Error cause_of_loss() const;
  void close_channel();
  void end_after(Nanos delay, Loop::Task task);  // in place of what was to end it before
  void settle();

  Runner& runner_;
  const StartId id_;
  const Recipe recipe_;
  OnUp on_up_;
  OnLost on_lost_;
  Child child_;
  const Nanos began_;
  Phase phase_ = Phase::kConnect;
  Loop::TimerId phase_timer_ = 0, total_timer_ = 0, end_timer_ = 0;
  Nanos phase_deadline_ = 0;
  Nanos asked_since_ = 0, asked_ = 0;  // since when a person is asked; how long it was in all
  Nanos total_ends_ = 0;               // when; while a person is asked: how much is left
  bool asks_ = false;

  std::unique_ptr<Carrier> carrier_;
  bool carrier_over_ = false;
  Carrier::Ending ending_of_carrier_;
  bool link_over_ = true;  // neither channel nor link is open

  Fd channel_;  // to the transport, until a link owns it
  Loop::WatchId channel_watch_ = 0;
  std::unique_ptr<Handshake> handshake_;
  Buffer upload_;
  std::size_t uploaded_ = 0;
  bool waiting_for_room_ = false;
  bool channel_ended_ = false;

  std::string complaints_;  // the end of what was said on the transport's stderr
  AsideFilter asides_;

  bool has_said_hello_ = false;
  std::unique_ptr<Link> greeting_;  // the link until it is the router's
  std::optional<Error> failure_;
  std::optional<Error> loss_;  // what the link said when it broke, unless we asked for it
  bool ended_by_us_ = false;   // the carrier, after the link
  bool ending_ = false;        // we asked for it
  std::vector<Function<void()>> waiters_;
  Alive alive_;
};

}  // namespace banyan
