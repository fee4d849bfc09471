// Nothing is overwritten, also when it came to exist after the first look.
#include "app/interop/new_file.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "tests/train/temporary_directory.h"

namespace lacuna {
namespace {

TEST(NewFile, AFileThatAppearedMeanwhileStays) {
  TemporaryDirectory directory;
  const std::string text = "new";
  const std::vector<ByteSpan> pieces{{text.data(), text.size()}};
  write_file_atomically(directory / "free", pieces, without_overwriting());
  EXPECT_EQ(read_text_file(directory / "free"), "new");
  write_file_atomically(directory / "taken", "old");
  EXPECT_THROW(write_file_atomically(directory / "taken", pieces, without_overwriting()), Error);
  EXPECT_EQ(read_text_file(directory / "taken"), "old");
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator((directory / "free").parent_path()))
    ++entries;
  EXPECT_EQ(entries, 2u) << "a temporary is left";
}

TEST(NewFile, ADirectoryThatAppearedMeanwhileStays) {
  TemporaryDirectory directory;
  std::filesystem::create_directory(directory / "from");
  std::filesystem::create_directory(directory / "to");  // an empty directory is what a plain rename would replace
  EXPECT_THROW(rename_to_new(directory / "from", directory / "to"), Error);
  EXPECT_TRUE(std::filesystem::exists(directory / "from"));
  rename_to_new(directory / "from", directory / "other");
  EXPECT_FALSE(std::filesystem::exists(directory / "from"));
}

}  // namespace
}  // namespace lacuna
