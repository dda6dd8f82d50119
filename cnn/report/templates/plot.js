"use strict"; // plot
