"use strict"; // sweep_axes
