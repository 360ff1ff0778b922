# seqmix_pkg_config(template output): writes seqmix.pc for the CMAKE_INSTALL_* directories in force.
#
# Everything is said relative to ${pcfiledir}, the folder that seqmix.pc lies in, so that an installed
# tree can be moved. Directories may be absolute (a distribution's libdir): those under the prefix are
# still said relatively, those outside it absolutely.
# A function that also works in script mode (cmake -P), where the tests call it.

# The path from `from` to `to`, both absolute or relative to the prefix.
function(_seqmix_pc_path output from to)
    foreach(name from to)
        if(IS_ABSOLUTE "${${name}}")
            set(${name}_full "${${name}}")
        else()
            set(${name}_full "${CMAKE_INSTALL_PREFIX}/${${name}}")
        endif()
        string(FIND "${${name}_full}/" "${CMAKE_INSTALL_PREFIX}/" ${name}_position)
    endforeach()
    if(from_position EQUAL 0 AND to_position EQUAL 0)
        file(RELATIVE_PATH relative "${from_full}" "${to_full}")
        string(REGEX REPLACE "/$" "" relative "${relative}")
        set(${output} "\${pcfiledir}/${relative}" PARENT_SCOPE)
    else()
        set(${output} "${to_full}" PARENT_SCOPE)
    endif()
endfunction()

function(seqmix_pkg_config template output)
    set(pc_directory "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
    _seqmix_pc_path(SEQMIX_PC_PREFIX "${pc_directory}" "${CMAKE_INSTALL_PREFIX}")
    _seqmix_pc_path(SEQMIX_PC_INCLUDEDIR "${pc_directory}" "${CMAKE_INSTALL_INCLUDEDIR}")
    set(SEQMIX_PC_LIBDIR "\${pcfiledir}/..")
    configure_file("${template}" "${output}" @ONLY)
endfunction()
