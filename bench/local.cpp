#include <functional>
#include <memory>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/peers.h"
#include "bench/root.h"
#include "transports/local.h"

namespace banyan::bench {

namespace {

constexpr int kSingles = 200;
constexpr int kMany = 100;
constexpr int kManyRounds = 10;

void measure_agents() {
  Table table(
      "Local children",
      "From the start to the answer to a first call; and to the end, when they are told to leave and waited "
      "for. The peer is posix_spawn() of a static program that does nothing, waited for: with the C library "
      "of this machine, which the budget means, and without any.");
  Root root;
  const double unpack_began = now_us();
  if (!embedded_images().local_image(ImageKind::kAgent)) die("no image for this machine");
  table.note(format("Before the first: %.2f ms to unpack the image into memory, once for all.",
                    (now_us() - unpack_began) / 1e3));

  Samples reply, gone, program, nothing;
  for (int i = 0; i < kSingles; ++i) {
    program.add(spawn_in_a_row_us(kStaticProgram, 1));
    nothing.add(spawn_in_a_row_us(kWithoutLibrary, 1));
    const Root::Times times = root.bring_up({local("one")});
    reply.add(times.answered);
    gone.add(times.gone);
  }
  table.at_most("one, to its first reply", in_ms(reply), in_ms(program), reply.median() / program.median(),
                {5, 0});
  table.plain("one, to its first reply", in_ms(reply), in_ms(nothing) + " without",
              reply.median() / nothing.median());
  table.plain("one, until it is gone", in_ms(gone), in_ms(nothing) + " without",
              gone.median() / nothing.median());

  Samples many_reply, many_gone, programs, at_once, nothings;
  for (int round = 0; round < kManyRounds; ++round) {
    programs.add(spawn_in_a_row_us(kStaticProgram, kMany));
    at_once.add(spawn_at_once_us(kStaticProgram, kMany));
    nothings.add(spawn_in_a_row_us(kWithoutLibrary, kMany));
    std::vector<Recipe> recipes;
    for (int i = 0; i < kMany; ++i) recipes.push_back(local("one of many"));
    const Root::Times times = root.bring_up(std::move(recipes));
    many_reply.add(times.answered);
    many_gone.add(times.gone);
  }
  const std::string what = "100, to the last one's first reply";
  table.at_most(what, in_ms(many_reply), in_ms(programs) + " one by one",
                many_reply.median() / programs.median(), {2.5, 0});
  table.plain(what, in_ms(many_reply), in_ms(at_once) + " all at once",
              many_reply.median() / at_once.median());
  table.plain(what, in_ms(many_reply), in_ms(nothings) + " one by one, without",
              many_reply.median() / nothings.median());
  table.plain("100, until all are gone", in_ms(many_gone), in_ms(programs) + " one by one",
              many_gone.median() / programs.median());
}

void measure_program() {
  Table table("The program, from outside", "`banyan run ... -- true`, the whole process; the peer as above.");
  const std::string banyan = beside_us("../banyan");
  Samples version, one, many, peer, in_a_row;
  for (int i = 0; i < 30; ++i) {
    version.add(run_program({banyan, "--version"}));
    peer.add(spawn_in_a_row_us(kStaticProgram, 1));
    one.add(run_program({banyan, "run", "local", "--", "true"}));
  }
  for (int i = 0; i < 5; ++i) {
    in_a_row.add(spawn_in_a_row_us(kStaticProgram, kMany));
    many.add(run_program({banyan, "run", "-q", "-f", "100", "local[1-100]", "--", "true"}));
  }
  table.plain("banyan --version", in_ms(version), in_ms(peer), version.median() / peer.median());
  table.plain("banyan run local -- true", in_ms(one), in_ms(peer), one.median() / peer.median());
  table.plain("banyan run -f 100 'local[1-100]' -- true", in_ms(many), in_ms(in_a_row) + " one by one",
              many.median() / in_a_row.median());
}

}  // namespace

void measure_local() {
  measure_agents();
  measure_program();
}

}  // namespace banyan::bench
