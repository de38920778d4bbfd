"""What is made of a trained model for others to look at.

    pictures    views along any cameras, as videos or PNG files
    orbit       the video around the scene, in frames that do not keep anybody waiting
    page        an octree as one file that a browser shows: `packing` and `codebooks` make it small, `assets` is the
                program of the page
    surface     distances from the cameras, of which `mesh`, `points` and `depth` are made; `texture` and
                `view_colours` colour a mesh, from pictures of the field or `photo_views`; `mesh_files` and
                `point_files` write, `volume` is a grid, `facts` reads all of them back
"""
