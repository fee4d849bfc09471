#include "app/command_line/command_line.h"

#include <cstdio>

#include "app/command_line/command_table.h"
#include "app/command_line/help.h"
#include "app/commands.h"
#include "core/errors.h"
#include "kernels/runtime/runtime.h"
#include "train/config/suggest.h"

namespace lacuna {
namespace {

int fail(int code, const std::exception& error) {
  std::fflush(stdout);
  std::fprintf(stderr, "%s\n", error.what());
  return code;
}

template <class F>
int guarded(F&& command) {
  try {
    return command();
  } catch (const std::bad_alloc&) {
    return fail(kExitOutOfMemory,
                OutOfMemoryError("host", "an allocation outside of tensors failed; the machine is out of memory"));
  } catch (const std::exception& e) {
    return fail(exit_code_of(e), e);
  } catch (const runtime::Failure& failure) {  // a call of the CUDA runtime outside of any op
    const Error error("cuda", failure.what);
    return fail(failure.out_of_memory ? kExitOutOfMemory : kExitRuntime, error);
  }
}

/// "unknown command 'trian' (did you mean 'train'?)", where CLI11 would say that a subcommand is required.
int refuse(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
  const CLI::App* at = &app;
  for (int i = 1; i < argc && argv[i][0] != '-' && !at->get_subcommands({}).empty(); ++i) {
    const CLI::App* next = nullptr;
    std::vector<std::string> names;
    for (const CLI::App* command : at->get_subcommands({})) {
      names.push_back(command->get_name());
      if (names.back() == argv[i]) next = command;
    }
    if (!next) {
      std::fprintf(stderr, "unknown command '%s'%s; must be one of %s\n", argv[i],
                   config::did_you_mean(argv[i], names).c_str(), config::join(names).c_str());
      return kExitConfig;
    }
    at = next;
  }
  return app.exit(error) == 0 ? kExitDone : kExitConfig;
}

}  // namespace

int run_command_line(int argc, char** argv) {
  CLI::App app{"Lacuna trains truly sparse neural networks.", "lacuna"};
  app.formatter(std::make_shared<HelpFormatter>());  // commands inherit it
  app.require_subcommand(1);
  app.set_version_flag("--version", LACUNA_VERSION, "Print the version and exit");
  app.set_help_flag("-h,--help", "Print this and exit; after a command, its arguments");
  CommandTable table({argv, argv + argc});
  declare_training_commands(app, table);
  declare_planning_commands(app, table);
  declare_run_commands(app, table);
  declare_bench_commands(app, table);
  declare_exchange_commands(app, table);
  app.footer("lacuna COMMAND --help lists a command's arguments. A first run: lacuna plan configs/quickstart.yaml");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return refuse(app, e, argc, argv);
  }
  return guarded([&] { return table.run(); });
}

}  // namespace lacuna
