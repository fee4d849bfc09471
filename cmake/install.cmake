# `cmake --install BUILD --prefix PREFIX`: headers in include/lacuna/<room>/, one static library per room in lib/, the
# program in bin/, configs in share/lacuna/configs, and the package that find_package(Lacuna) reads in lib/cmake/Lacuna.
option(LACUNA_INSTALL "Generate the install target" ${PROJECT_IS_TOP_LEVEL})

# Lacuna::lacuna: everything but the command line. (The program has the plain name as its target.)
add_library(lacuna_all INTERFACE)
add_library(Lacuna::lacuna ALIAS lacuna_all)
set_target_properties(lacuna_all PROPERTIES EXPORT_NAME lacuna)
target_link_libraries(lacuna_all INTERFACE lacuna_models lacuna_train)
target_compile_features(lacuna_kernels INTERFACE cxx_std_20)  # the headers need it; every room links kernels

if(NOT LACUNA_INSTALL)
  return()
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(rooms kernels core layers optim pruning data models train)
foreach(room IN LISTS rooms)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lacuna
          FILES_MATCHING PATTERN "*.h")
endforeach()
list(TRANSFORM rooms PREPEND lacuna_ OUTPUT_VARIABLE libraries)
install(TARGETS ${libraries} lacuna_all EXPORT LacunaTargets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lacuna)
if(TARGET lacuna)
  install(TARGETS lacuna RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/configs DESTINATION ${CMAKE_INSTALL_DATADIR}/lacuna FILES_MATCHING PATTERN "*.yaml")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/lacuna)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Lacuna)
install(EXPORT LacunaTargets NAMESPACE Lacuna:: DESTINATION ${package_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/LacunaConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/LacunaConfig.cmake INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may change interfaces.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/LacunaConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/LacunaConfig.cmake ${PROJECT_BINARY_DIR}/LacunaConfigVersion.cmake
        DESTINATION ${package_dir})
